"""From a command to its place in the log: load, check, decide, append; again if the stream moved.

States and catalog may be a moment old. An old one can only cost a second look, never a wrong
answer: what is appended is checked by the log itself, and what is refused is refused after a fresh
look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from catalog import codec
from catalog.catalog import Catalog
from catalog.events import ConnectionDeleted, Event, FlowDeleted
from eventflows.events.v1 import events_pb2
from kernel.errors import (
    EventflowsError,
    Overloaded,
    StateForbids,
    TooLarge,
    Unavailable,
    VersionConflict,
)

from registry.application.credentials import credentials_of
from registry.application.group_commit import GroupCommit
from registry.application.projection import Projection
from registry.application.streams import Loaded, Streams
from registry.domain import claim
from registry.domain.aggregates import Aggregate
from registry.ports.event_store import Append, EventStore, NewEvent, Outcome, Status
from registry.ports.vault import Vault

DECIDE_ATTEMPTS_MAX = 10
COMMAND_REUSED = 9011

_log = logging.getLogger(__name__)


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
class NewSecret:
    """A secret that the command's event will name."""

    secret_id: str
    field: str
    plain: bytes

    def __repr__(self) -> str:
        return f"NewSecret(secret_id={self.secret_id!r})"


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
        stored_secret = False
        for _ in range(DECIDE_ATTEMPTS_MAX):
            try:
                loaded, events = await self._decide(request, fresh=fresh)
            except (Unavailable, Overloaded):
                raise
            except EventflowsError:
                if not fresh:
                    fresh = True
                    continue
                if (repeated := await self._repeated(request)) is not None:
                    return repeated
                raise
            if request.secret and events and not stored_secret:
                await self._put(request.secret, request.stream_id)
                stored_secret = True
            outcome = await self._append(request, loaded, events)
            if outcome.status is Status.VERSION_CONFLICT:
                fresh = True
                continue
            if outcome.status is Status.STORED:
                await self._stored(request, loaded, events, outcome)
            elif outcome.status is Status.REPLAYED:
                await self._ask_the_log(request, outcome)
            else:
                await self._discard(request.secret)
            return _result(request, outcome)
        await self._discard(request.secret)
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

    async def _append(self, request: Request, loaded: Loaded, events: Sequence[Event]) -> Outcome:
        context = request.context
        claims = request.aggregate.claims(loaded.state, events)
        metadata = events_pb2.Metadata(
            actor=context.actor,
            command_id=context.command_id,
            correlation_id=context.correlation_id,
            traceparent=context.traceparent,
            key_id=context.key_id,
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
            await self._discard(request.secret)
            raise

    async def _stored(
        self, request: Request, loaded: Loaded, events: Sequence[Event], outcome: Outcome
    ) -> None:
        if not events:
            return await self._discard(request.secret)
        self._streams.appended(request.aggregate, request.stream_id, loaded, events)
        self._stored_position = max(self._stored_position, outcome.position)
        try:
            if request.secret:
                await self._vault.mark_used(request.secret.secret_id)
            if any(isinstance(event, ConnectionDeleted | FlowDeleted) for event in events):
                await self._vault.shred(request.stream_id)
        except Unavailable as error:
            # The command is done; the hourly sweep puts the vault right.
            _log.warning("the vault lags behind the log", extra={"why": str(error)})
        return None

    async def _ask_the_log(self, request: Request, outcome: Outcome) -> None:
        """Keep a replayed command's secret if the log names it, else destroy it.

        The first try may have been our own: stored, but its answer was lost on the way.
        """
        if request.secret is None:
            return
        try:
            await self._projection.reach(outcome.position)
            named = credentials_of(self._projection.catalog, request.stream_id)
            if named is not None and named.secret_id == request.secret.secret_id:
                await self._vault.mark_used(request.secret.secret_id)
                return
        except Unavailable as error:
            _log.warning("a secret waits for the sweep", extra={"why": str(error)})
            return
        await self._discard(request.secret)

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

    async def _put(self, secret: NewSecret, stream_id: str) -> None:
        await self._vault.put(
            secret_id=secret.secret_id, stream_id=stream_id, field=secret.field, secret=secret.plain
        )

    async def _discard(self, secret: NewSecret | None) -> None:
        if secret is None:
            return
        try:
            await self._vault.discard(secret.secret_id)
        except Unavailable as error:
            _log.warning("a pending secret stays for the sweep", extra={"why": str(error)})


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
