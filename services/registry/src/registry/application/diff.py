"""What differs between two moments, and who changed it: for auditors and for who looks for a fault.

The events in between are replayed on a catalog as of the first moment, at most EVENTS_MAX of them.
With ids, or with kinds that do not include flows (which change by what happens elsewhere), only the
events of streams that may change those aggregates are read, however many others lie in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from catalog.catalog import Catalog
from catalog.events import ApiKeyCreated, Metadata
from catalog.identifiers import topic_access_id
from catalog.kinds import AggregateKind
from catalog.touched import Touched
from kernel.errors import EventflowsError, InvalidInput, TimedOut, TooLarge

from registry.application.moments import AsOf, Moment, Moments
from registry.application.projection import Projection, recorded
from registry.domain.differences import Difference, Differences, naming_of
from registry.ports.event_store import Archived, EventStore, Selection, StoredEvent

EVENTS_MAX: Final = 100_000
"""That are replayed for one answer: a few seconds."""
IDS_MAX: Final = 25
"""Each may need four streams, and a selection has at most 100."""
CHANGES_MAX: Final = 5_000
PAGE_EVENTS_MAX: Final = 1_000
TIMEOUT_S: Final = 60.0
_NARROW: Final = "name moments closer together, ids, or kinds other than flows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Of these kinds and these ids only; empty: any."""

    kinds: frozenset[AggregateKind] = frozenset()
    ids: frozenset[str] = frozenset()

    def __call__(self, one: Touched) -> bool:
        return (not self.kinds or one.kind in self.kinds) and (not self.ids or one.id in self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A difference with the names of who caused it; the label is empty for services, and for a key
    whose creation was archived."""

    difference: Difference
    actor_name: str
    key_label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The moments as they were resolved, and what differs."""

    before: Moment
    after: Moment
    changes: Sequence[Change]


class Diff:
    """Compares moments; shares the places of `Moments`, so only a few at the same time."""

    def __init__(self, *, store: EventStore, moments: Moments, projection: Projection) -> None:
        self._store = store
        self._moments = moments
        self._projection = projection

    async def between(self, before: AsOf, after: AsOf, wanted: Wanted) -> Compared:
        """What differs at `after` from `before`.

        Raises InvalidInput, TooLarge (with advice), TimedOut, and what `Moments` raises.
        """
        if len(wanted.ids) > IDS_MAX:
            raise InvalidInput(f"ids: name at most {IDS_MAX}, or none")
        first, second = await self._moments.resolve(before), await self._moments.resolve(after)
        if first.position > second.position:
            raise InvalidInput(
                f"from is position {first.position}, after to, which is {second.position}: "
                "swap them"
            )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                changes = await self._changes(first, second, wanted)
        except TimeoutError as error:
            raise TimedOut(
                f"the moments could not be compared within {TIMEOUT_S:g} s: {_NARROW}"
            ) from error
        return Compared(before=first, after=second, changes=changes)

    async def _changes(self, first: Moment, second: Moment, wanted: Wanted) -> Sequence[Change]:
        selection = await self._selection(first, second, wanted)
        if selection is None and second.position - first.position > EVENTS_MAX:
            raise _too_many_events(second.position - first.position)
        base = await self._moments.catalog_at(first)
        await self._projection.reach(second.position)
        async with self._moments.place():
            catalog = await asyncio.to_thread(_copy, base)
            differences = Differences(catalog, wanted=wanted)
            async for page in self._events(first.position, second.position, selection):
                await asyncio.to_thread(_take, differences, page)
            # Look-ups of what never changes a name: the thread may ask the living catalog too.
            naming = naming_of(differences.catalog, base, self._projection.catalog)
            found = await asyncio.to_thread(
                lambda: list(islice(differences.found(naming), CHANGES_MAX + 1))
            )
        if len(found) > CHANGES_MAX:
            raise TooLarge(f"more than {CHANGES_MAX} fields differ: {_NARROW}")
        labels = _Labels(self._store, self._projection)
        return [await self._change(one, labels) for one in found]

    async def _selection(self, first: Moment, second: Moment, wanted: Wanted) -> Selection | None:
        """The streams that may change what is wanted, or its names; None: all."""
        if not wanted.ids and (not wanted.kinds or AggregateKind.FLOW in wanted.kinds):
            return None
        if not wanted.ids:
            named_after = {AggregateKind.TOPIC_ACCESS: AggregateKind.CONNECTION}
            kinds = wanted.kinds | {named_after.get(kind, kind) for kind in wanted.kinds}
            return Selection(categories=frozenset(kind.name.lower() for kind in kinds))
        ids = set(wanted.ids)
        for moment in (first, second):
            catalog = await self._moments.catalog_at(moment)
            ids |= {related for one in wanted.ids for related in _related(catalog, one)}
        return Selection(stream_ids=frozenset(ids))

    async def _events(
        self, after: int, to: int, selection: Selection | None
    ) -> AsyncIterator[Sequence[StoredEvent]]:
        read = 0
        while after < to:
            if selection is None:
                page = await self._store.read(after, limit=min(PAGE_EVENTS_MAX, to - after))
                if not page:
                    raise EventflowsError(f"the log has a hole after position {after}: verify it")
                after = page[-1].position
            else:
                selected = await self._store.read_selected(
                    after, to=to, selection=selection, limit=PAGE_EVENTS_MAX
                )
                page, after = selected.events, selected.covered_position
            read += len(page)
            if read > EVENTS_MAX:
                raise _too_many_events(read)
            yield page

    async def _change(self, one: Difference, labels: _Labels) -> Change:
        about = one.cause.metadata
        actor = self._projection.catalog.account(about.actor)
        return Change(
            difference=one,
            actor_name=about.actor if actor is None else actor.username,
            key_label=await labels.of(about),
        )


class _Labels:
    """Labels of API keys; those of revoked ones are told by the account's stream, read once."""

    def __init__(self, store: EventStore, projection: Projection) -> None:
        self._store = store
        self._projection = projection
        self._known: dict[str, dict[str, str]] = {}

    async def of(self, about: Metadata) -> str:
        """The label of the key that was used; empty when it is not known."""
        if not about.key_id:
            return ""
        account = self._projection.catalog.account(about.actor)
        for key in account.keys if account else ():
            if key.key_id == about.key_id:
                return key.label
        if about.actor not in self._known:
            self._known[about.actor] = await self._of_account(about.actor)
        return self._known[about.actor].get(about.key_id, "")

    async def _of_account(self, account_id: str) -> dict[str, str]:
        try:
            stored = await self._store.read_stream(account_id)
        except Archived:
            return {}
        told = [recorded(one).event for one in stored]
        return {event.key_id: event.label for event in told if isinstance(event, ApiKeyCreated)}


def _related(catalog: Catalog, aggregate_id: str) -> Collection[str]:
    """Other streams that the aggregate's state or name is made of."""
    if (access := catalog.topic_access_by_id(aggregate_id)) is not None:
        return {access.connection_id}
    flow = catalog.flow(aggregate_id)
    if flow is None:
        return set()
    related = {flow.algorithm_id}
    if flow.channel is not None and flow.channel.connection_id:
        connection_id, topic = flow.channel.connection_id, flow.channel.name
        related |= {connection_id, topic_access_id(connection_id=connection_id, topic=topic)}
    return related


def _copy(catalog: Catalog) -> Catalog:
    return Catalog.of(catalog.image())


def _take(differences: Differences, page: Sequence[StoredEvent]) -> None:
    differences.take(map(recorded, page))


def _too_many_events(events: int) -> TooLarge:
    return TooLarge(
        f"{events} events lie between the two moments, at most {EVENTS_MAX} can be compared: "
        f"{_NARROW}"
    )
