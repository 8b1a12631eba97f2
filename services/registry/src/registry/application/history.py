"""States of aggregates, now and as of a moment.

One aggregate is folded from its own stream, so it costs its own events and not the log's. What a
flow owes to its grant is in other streams: a flow that nobody created, or whose stream says that it
was deleted, is looked up in the catalog as of the moment; so is what was archived.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from catalog import aggregates
from catalog.aggregates import State
from catalog.catalog import Catalog
from catalog.kinds import AggregateKind
from kernel.errors import InvalidInput

from registry.application.moments import AsOf, Moment, Moments
from registry.application.projection import Projection, recorded
from registry.ports.event_store import Archived, EventStore

STREAM_PAGE_EVENTS_MAX: Final = 500
"""A build's event may have 16 kB: some 8 MB in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in the list of a moment: after its first `offset` states."""

    position: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Part of a list. `rest` is how many states come after it."""

    moment: Moment
    states: Sequence[State]
    offset: int
    rest: int


class History:
    """Answers reads of single aggregates and of lists. Any number at the same time."""

    def __init__(self, *, store: EventStore, moments: Moments, projection: Projection) -> None:
        self._store = store
        self._moments = moments
        self._projection = projection

    async def state(
        self, kind: AggregateKind, aggregate_id: str, as_of: AsOf
    ) -> tuple[Moment, State | None]:
        """The aggregate as it was, and when; None: there was none of that kind and id.

        Raises what `Moments` raises.
        """
        moment = await self._moments.resolve(as_of)
        try:
            own = aggregates.of(
                await self._of_its_stream(aggregate_id, moment.position), kind, aggregate_id
            )
        except Archived:
            return moment, await self._in_catalog(kind, aggregate_id, moment)
        if own is None and kind is AggregateKind.FLOW:
            own = await self._in_catalog(kind, aggregate_id, moment)
        return moment, own

    async def listed(
        self, kind: AggregateKind, as_of: AsOf, *, limit: int, place: Place | None = None
    ) -> Listed:
        """Up to `limit` states of a kind, from the beginning or from the place that a page before
        led to: one list at one moment, whatever happens to the log in between.

        Raises InvalidInput for a place that the list does not have, or of another moment than
        `as_of` (None with a place: its own); and what `Moments` raises.
        """
        moment = await self._moments.resolve(as_of if place is None else place.position)
        if place is not None and as_of is not None:
            asked = await self._moments.resolve(as_of)
            if asked.position != moment.position:
                raise InvalidInput(
                    f"page_token goes on with the list as of position {moment.position}: leave "
                    "as_of as it was, or begin a new list without the token"
                )
        states = aggregates.listed(await self._moments.catalog_at(moment), kind)
        offset = 0 if place is None else place.offset
        if offset > len(states):
            raise InvalidInput("page_token is not one of this list: begin without a token")
        page = states[offset : offset + limit]
        return Listed(
            moment=moment, states=page, offset=offset, rest=len(states) - offset - len(page)
        )

    async def _of_its_stream(self, stream_id: str, position: int) -> Catalog:
        """A catalog that knows this one stream, up to a position."""
        catalog = Catalog()
        version = 0
        while page := await self._store.read_stream(
            stream_id, after_version=version, limit=STREAM_PAGE_EVENTS_MAX
        ):
            within = [stored for stored in page if stored.position <= position]
            aggregates.fold(catalog, map(recorded, within))
            if len(within) < STREAM_PAGE_EVENTS_MAX:
                break
            version = page[-1].version
        return catalog

    async def _in_catalog(
        self, kind: AggregateKind, aggregate_id: str, moment: Moment
    ) -> State | None:
        if self._projection.catalog.position == moment.position:  # mostly so for what is now
            return aggregates.of(self._projection.catalog, kind, aggregate_id)
        return aggregates.of(await self._moments.catalog_at(moment), kind, aggregate_id)
