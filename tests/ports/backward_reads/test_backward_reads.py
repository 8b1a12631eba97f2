"""What every reading of the log backwards promises."""

from __future__ import annotations

import pytest
from registry.adapters import postgres_backward_reads
from registry.ports.event_store import SelectedPage, Selection

from tests.ports.backward_reads.conftest import Told


def positions(page: SelectedPage) -> list[int]:
    return [event.position for event in page.events]


async def test_events_come_newest_first_down_to_the_limit(told: Told) -> None:
    await told.add("flow", *[20] * 5)
    page = await told.reads.read_back(5, after=0, selection=None, limit=2)
    assert positions(page) == [5, 4]
    assert page.covered_position == 4
    page = await told.reads.read_back(3, after=0, selection=None, limit=10)
    assert positions(page) == [3, 2, 1]
    assert page.covered_position == 1


async def test_nothing_at_or_below_the_lower_end_comes(told: Told) -> None:
    await told.add("flow", *[20] * 5)
    page = await told.reads.read_back(4, after=2, selection=None, limit=10)
    assert positions(page) == [4, 3]
    assert page.covered_position == 3


async def test_the_events_are_those_of_the_log_byte_for_byte(told: Told) -> None:
    await told.add("flow", 20, 5_000, 30)
    page = await told.reads.read_back(3, after=0, selection=None, limit=10)
    assert list(page.events)[::-1] == list(await told.store.read(0, limit=10))


async def test_a_page_ends_before_its_bytes_are_too_many_but_holds_one(told: Told) -> None:
    await told.add("flow", 100, 100, 100, 5_000)
    page = await told.reads.read_back(4, after=0, selection=None, limit=10, bytes_max=250)
    assert positions(page) == [4]
    assert page.covered_position == 4
    page = await told.reads.read_back(3, after=0, selection=None, limit=10, bytes_max=250)
    assert positions(page) == [3, 2]
    assert page.covered_position == 2


async def test_only_what_is_selected_comes_and_the_rest_is_covered(told: Told) -> None:
    flow = await told.add("flow", 20, 20)
    account = await told.add("account", 20)
    await told.add("connection", 20)
    of_account = Selection(categories=frozenset({"account"}))
    page = await told.reads.read_back(4, after=0, selection=of_account, limit=10)
    assert positions(page) == [3]
    assert page.covered_position == 1
    both = Selection(categories=frozenset({"connection"}), stream_ids=frozenset({flow}))
    page = await told.reads.read_back(4, after=0, selection=both, limit=2)
    assert positions(page) == [4, 2]
    assert page.covered_position == 2
    of_stream = Selection(stream_ids=frozenset({account}))
    page = await told.reads.read_back(2, after=0, selection=of_stream, limit=2)
    assert positions(page) == []
    assert page.covered_position == 1


@pytest.mark.parametrize("by_stream_max", [0, 5_000])
async def test_pages_in_a_row_give_all_that_is_selected_once(
    told: Told, monkeypatch: pytest.MonkeyPatch, by_stream_max: int
) -> None:
    monkeypatch.setattr(postgres_backward_reads, "NEAR_POSITIONS", 3)
    monkeypatch.setattr(postgres_backward_reads, "SCAN_POSITIONS_MAX", 6)
    monkeypatch.setattr(postgres_backward_reads, "BY_STREAM_EVENTS_MAX", by_stream_max)
    for _ in range(4):
        await told.add("account", 20)
        await told.add("flow", *[20] * 9)
    selection = Selection(categories=frozenset({"account"}))
    found, to = [], 40
    while to > 0:
        page = await told.reads.read_back(to, after=0, selection=selection, limit=3)
        assert page.covered_position <= to
        found += positions(page)
        to = page.covered_position - 1
    assert found == [31, 21, 11, 1]
