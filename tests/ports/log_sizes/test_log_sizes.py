"""What everybody who tells how much the log holds promises."""

from __future__ import annotations

from collections import Counter

from registry.ports.event_store import READ_EVENTS_MAX

from tests.ports.log_sizes.conftest import Told
from tests.support.long_log import fill

EVENTS = 700


async def test_an_empty_log_has_nothing_but_room(told: Told) -> None:
    sizes = await told.sizing.sizes()
    assert (sizes.seals, sizes.commands) == (0, 0)
    assert sizes.events_of_kind == {}
    assert sizes.streams_of_category == {}
    assert sizes.covered_to_position > 0


async def test_what_is_not_much_is_counted_exactly(told: Told) -> None:
    assert await fill(told.store, EVENTS, topics=50) == EVENTS
    events = await told.store.read(0, limit=READ_EVENTS_MAX)
    sizes = await told.sizing.sizes()
    assert sizes.events_of_kind == Counter(event.name for event in events)
    streams = {event.stream_id: event.category for event in events}
    assert sizes.streams_of_category == Counter(streams.values())
    assert sizes.seals == len(await told.store.seals(0, limit=EVENTS))
    assert sizes.commands == len({event.metadata for event in events})
    assert sizes.bytes_of_table["events"] >= sum(
        len(one.data) + len(one.metadata) for one in events
    )
