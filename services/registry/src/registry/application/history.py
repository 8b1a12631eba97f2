"""States of aggregates, now and as of a moment.

One aggregate is folded from its own stream, so it costs its own events and not the log's. What a
flow owes to its grant is in other streams: a flow that nobody created, or whose stream says that it
was deleted, is looked up in the catalog as of the moment; so is what was archived. What is asked of
now is told by the registry's own catalog, which may be a little later than the head at the call.
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
            stream = await self._of_its_stream(aggregate_id, moment.position)
        except Archived:
            pass  # the catalog of the moment knows what became of it
        else:
            state = aggregates.of(stream, kind, aggregate_id)
            if state is not None or kind is not AggregateKind.FLOW:
                return moment, state
        if as_of is None:
            catalog = await self._living(moment)
            state, position = aggregates.of(catalog, kind, aggregate_id), catalog.position
            return await self._later(moment, position), state
        catalog = await self._moments.catalog_at(moment)
        return moment, aggregates.of(catalog, kind, aggregate_id)

    async def listed(
        self, kind: AggregateKind, as_of: AsOf, *, limit: int, place: Place | None = None
    ) -> Listed:
        """Up to `limit` states of a kind, from the beginning or from the place that a page before
        led to: one list at one moment, whatever happens to the log in between.

        Raises InvalidInput for a place that the list does not have, or of another moment than
        `as_of` (None with a place: its own); and what `Moments` raises.
        """
        if place is not None:
            moment = await self._moment_of(place, as_of)
        elif as_of is not None:
            moment = await self._moments.resolve(as_of)
        else:
            moment = await self._moments.resolve(None)
            catalog = await self._living(moment)
            states, position = aggregates.listed(catalog, kind), catalog.position
            moment = await self._later(moment, position)
            if len(states) <= limit:  # no page follows that would need this catalog to be kept
                return Listed(moment=moment, states=states, offset=0, rest=0)
        states = aggregates.listed(await self._moments.catalog_at(moment), kind)
        offset = 0 if place is None else place.offset
        if offset > len(states):
            raise InvalidInput("page_token is not one of this list: begin without a token")
        page = states[offset : offset + limit]
        return Listed(
            moment=moment, states=page, offset=offset, rest=len(states) - offset - len(page)
        )

    async def _moment_of(self, place: Place, as_of: AsOf) -> Moment:
        """The moment of a list that goes on. Raises InvalidInput when `as_of` is another one."""
        moment = await self._moments.resolve(place.position)
        if as_of is not None and await self._moments.resolve(as_of) != moment:
            raise InvalidInput(
                f"page_token goes on with the list as of position {moment.position}: leave as_of "
                "as it was, or begin a new list without the token"
            )
        return moment

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

    async def _living(self, moment: Moment) -> Catalog:
        """The registry's own catalog, at `moment` or later. It goes on with the next `await`."""
        await self._projection.reach(moment.position)
        return self._projection.catalog

    async def _later(self, moment: Moment, position: int) -> Moment:
        return moment if position == moment.position else await self._moments.resolve(position)
