"""From a command to its place in the log: load, check, decide, append; again if the stream moved.

States and catalog may be a moment old. An old one can only cost a second look, never a wrong
answer: what is appended is checked by the log itself, and what is refused is refused after a fresh
look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from catalog import codec
from catalog.catalog import Catalog
from catalog.events import Event, Metadata
from catalog.metadata import metadata_message
from kernel.errors import (
    EventflowsError,
    Overloaded,
    StateForbids,
    TooLarge,
    Unavailable,
    VersionConflict,
)

from registry.application.group_commit import GroupCommit
from registry.application.projection import Projection
from registry.application.streams import Loaded, Streams
from registry.application.vault_steps import NewSecret, VaultSteps
from registry.domain import claim
from registry.domain.aggregates import Aggregate
from registry.ports.event_store import Append, EventStore, NewEvent, Outcome, Status
from registry.ports.vault import Vault

DECIDE_ATTEMPTS_MAX = 10
COMMAND_REUSED = 9011


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandContext:
    """Who asks, and how a repeat is recognised."""

    command_id: str
    request_hash: bytes
    actor: str
    key_id: str = ""
    correlation_id: str = ""
    traceparent: str = ""
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One command for one stream.

    `command` is the domain's command, or makes it from the catalog when other aggregates have a
    say; then it may refuse by raising.
    """

    aggregate: Aggregate
    stream_id: str
    context: CommandContext
    command: Any
    secret: NewSecret | None = None


FromCatalog = Callable[[Catalog], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the caller learns. `position` includes the state that the command left or found."""

    stream_id: str
    version: int
    position: int
    replayed: bool
    changed: bool


class Commands:
    """Carries out requests. Any number at the same time."""

    def __init__(
        self,
        *,
        store: EventStore,
        vault: Vault,
        group_commit: GroupCommit,
        projection: Projection,
        streams: Streams,
    ) -> None:
        self._store = store
        self._vault = vault
        self._group_commit = group_commit
        self._projection = projection
        self._streams = streams
        self._stored_position = 0

    async def execute(self, request: Request) -> Result:
        """Carry out the request once, however often it comes.

        Raises what `decide` and the checks raise; VersionConflict for the caller's expected
        version; StateForbids for a command id that was used for another request; Overloaded;
        Unavailable (it may or may not have happened: send the same command id again).
        """
        fresh = False
        steps = VaultSteps(
            vault=self._vault,
            store=self._store,
            streams=self._streams,
            aggregate=request.aggregate,
            stream_id=request.stream_id,
            secret=request.secret,
        )
        for _ in range(DECIDE_ATTEMPTS_MAX):
            try:
                loaded, events = await self._decide(request, fresh=fresh)
                if not await steps.secure(loaded.state, events):
                    fresh = True
                    continue
            except (Unavailable, Overloaded):
                raise
            except EventflowsError:
                if not fresh:
                    fresh = True
                    continue
                await steps.drop()
                if (repeated := await self._repeated(request)) is not None:
                    return repeated
                raise
            outcome = await self._append(request, loaded, events, steps)
            if outcome.status is Status.VERSION_CONFLICT:
                fresh = True
                continue
            if outcome.status is Status.STORED:
                await self._stored(request, loaded, events, outcome, steps)
            elif outcome.status is Status.REPLAYED:
                await steps.ask_the_log()
            else:
                await steps.drop()
            return _result(request, outcome)
        await steps.drop()
        raise VersionConflict("others change the same thing all the time: read it and decide again")

    async def _decide(self, request: Request, *, fresh: bool) -> tuple[Loaded, Sequence[Event]]:
        command = request.command
        if callable(command):
            await self._projection.reach(self._stored_position)
            if fresh:
                await self._projection.reach_head()
            command = command(self._projection.catalog)
        loaded = await self._streams.load(request.aggregate, request.stream_id, fresh=fresh)
        expected = request.context.expected_version
        if expected is not None and expected != loaded.version:
            raise VersionConflict(
                f"it is at version {loaded.version}, not {expected}: read it, then decide again"
            )
        return loaded, request.aggregate.decider.decide(command, loaded.state)

    async def _append(
        self, request: Request, loaded: Loaded, events: Sequence[Event], steps: VaultSteps
    ) -> Outcome:
        context = request.context
        claims = request.aggregate.claims(loaded.state, events)
        metadata = metadata_message(
            Metadata(
                actor=context.actor,
                command_id=context.command_id,
                correlation_id=context.correlation_id,
                traceparent=context.traceparent,
                key_id=context.key_id,
            )
        )
        item = Append(
            command_id=context.command_id,
            request_hash=context.request_hash,
            stream_id=request.stream_id,
            category=request.aggregate.category,
            expected_version=loaded.version,
            events=tuple(
                NewEvent(name=codec.stored_name(event), data=codec.encode(event))
                for event in events
            ),
            metadata=metadata.SerializeToString(deterministic=True),
            claims=claims.added,
            releases=claims.released,
        )
        try:
            return await self._group_commit.append(item)
        except (Overloaded, TooLarge):  # nothing was queued
            await steps.drop()
            raise

    async def _stored(
        self,
        request: Request,
        loaded: Loaded,
        events: Sequence[Event],
        outcome: Outcome,
        steps: VaultSteps,
    ) -> None:
        if not events:
            return await steps.drop()
        self._streams.appended(request.aggregate, request.stream_id, loaded, events)
        self._stored_position = max(self._stored_position, outcome.position)
        after = request.aggregate.decider.fold(events, state=loaded.state)
        await steps.follow(loaded.state, after, events)
        return None

    async def _repeated(self, request: Request) -> Result | None:
        """The first result of a known command id: a refusal may come from its own success."""
        known = await self._store.find_command(request.context.command_id)
        if known is None:
            return None
        same = known.request_hash == request.context.request_hash
        return _result(
            request,
            Outcome(
                status=Status.REPLAYED if same else Status.COMMAND_REUSED,
                version=known.version,
                position=known.position,
                event_count=known.event_count,
            ),
        )


def _result(request: Request, outcome: Outcome) -> Result:
    match outcome.status:
        case Status.STORED | Status.REPLAYED:
            return Result(
                stream_id=request.stream_id,
                version=outcome.version,
                position=outcome.position,
                replayed=outcome.status is Status.REPLAYED,
                changed=outcome.event_count > 0,
            )
        case Status.CLAIM_CONFLICT:
            raise claim.taken(outcome.claim)
        case Status.COMMAND_REUSED:
            raise StateForbids(
                "this command id was used for another request: use a fresh one", code=COMMAND_REUSED
            )
        case Status.VERSION_CONFLICT:
            raise VersionConflict("it has moved on: read it again, then decide again")
