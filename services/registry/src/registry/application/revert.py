"""`Revert`: one aggregate as it was at an earlier version of its stream, by a command like any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.catalog import Catalog
from catalog.events import Event, TopicAccessSet
from catalog.kinds import AggregateKind
from kernel.errors import EventflowsError, InvalidInput, NotFound

from registry.application import checks
from registry.application.commands import CommandContext, Commands, Request, Result
from registry.application.projection import recorded
from registry.application.stream_states import decode
from registry.domain.aggregates import Aggregate
from registry.domain.connection import UpdateConnection
from registry.domain.flow import DisableFlow, EnableFlow
from registry.domain.reverting import OF_KIND, Revert, command_to, reverting
from registry.domain.topic_access import SetTopicAccess
from registry.ports.archive import LogParts
from registry.ports.event_store import Archived, EventStore

PAGE_EVENTS_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Then:
    """A stream's state after `version` events; `saved` is an event that tells its topic."""

    state: Any
    version: int
    saved: TopicAccessSet | None = None


class Reverts:
    """Carries out reverts. Any number at the same time."""

    def __init__(self, *, store: EventStore, parts: LogParts, commands: Commands) -> None:
        self._store = store
        self._parts = parts
        self._commands = commands

    async def revert(
        self, kind: AggregateKind, stream_id: str, to_version: int, context: CommandContext
    ) -> Result:
        """Append what brings the aggregate back to `to_version`; nothing when it is so already.

        Raises NotFound, InvalidInput for a version that it never had or whose events are in the
        archive, StateForbids, NotAllowed and TooLarge for what may not come back, and
        what `Commands.execute` raises.
        """
        aggregate = OF_KIND[kind]
        then = await self._then(aggregate, stream_id, to_version)
        command = command_to(then.state, then.saved)
        return await self._commands.execute(
            Request(
                aggregate=reverting(aggregate),
                stream_id=stream_id,
                context=context,
                command=_checked(then.state, stream_id, command),
            )
        )

    async def _then(self, aggregate: Aggregate, stream_id: str, to_version: int) -> _Then:
        then = _Then(state=aggregate.decider.initial, version=0)
        try:
            page = await self._page(aggregate, stream_id, 0)
        except Archived:
            then = await self._kept(aggregate, stream_id, to_version)
            page = await self._page(aggregate, stream_id, then.version)
        if then.version == 0 and not page:
            raise NotFound(
                f"there is no {aggregate.category.replace('_', ' ')} with events of its own under "
                "this id: there is nothing to go back to"
            )
        while page and then.version < to_version:
            within = page[: to_version - then.version]
            then = _Then(
                state=aggregate.decider.fold(within, state=then.state),
                version=then.version + len(within),
                saved=_saved(within) or then.saved,
            )
            if then.version < to_version:
                page = await self._page(aggregate, stream_id, then.version)
        if then.version < to_version:
            raise InvalidInput(
                f"it is at version {then.version}: name an earlier one, not {to_version}"
            )
        return _Then(state=then.state, version=then.version, saved=then.saved or _saved(page))

    async def _page(
        self, aggregate: Aggregate, stream_id: str, after_version: int
    ) -> Sequence[Event]:
        page = await self._store.read_stream(
            stream_id, after_version=after_version, limit=PAGE_EVENTS_MAX
        )
        events = [recorded(stored).event for stored in page]
        if not all(isinstance(event, aggregate.kinds) for event in events):
            raise NotFound("this id belongs to a thing of another kind: name its own kind")
        return events

    async def _kept(self, aggregate: Aggregate, stream_id: str, to_version: int) -> _Then:
        """What the archive kept of the stream. Raises InvalidInput when that is too late."""
        stored = await self._parts.state_of(stream_id)
        if stored is None or stored.version > to_version:
            raise InvalidInput(
                "the events of that version were archived: name a later version, or look into the "
                "archive's files and give the values by a command"
            )
        kept = decode(stored)
        if kept.aggregate.category != aggregate.category:
            raise NotFound("this id belongs to a thing of another kind: name its own kind")
        return _Then(state=kept.state, version=kept.version)


def _saved(events: Sequence[Event]) -> TopicAccessSet | None:
    return next((one for one in reversed(events) if isinstance(one, TopicAccessSet)), None)


def _checked(then: Any, stream_id: str, command: Any) -> Callable[[Catalog], Revert]:
    """The revert, once the catalog was asked what other aggregates say to its command."""
    check = _check_of(stream_id, command)

    def checked(catalog: Catalog) -> Revert:
        try:
            return Revert(then=then, command=check(catalog))
        except EventflowsError as refusal:
            # Only told when there is something to do: that is known from the stream, not here.
            return Revert(then=then, command=command, refusal=refusal)

    return checked


def _check_of(stream_id: str, command: Any) -> Callable[[Catalog], Any]:
    match command:
        case SetTopicAccess():
            return checks.set_topic_access(command)
        case UpdateConnection():
            return checks.update_connection(command)
        case EnableFlow():
            return checks.enable_flow(stream_id, command)
        case DisableFlow():
            return checks.disable_flow(stream_id)
        case _:
            return lambda _catalog: command
