"""The walk along the chain: every change is found, and found in its batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from kernel.errors import InvalidInput
from sealedlog.verification import BEGINNING, ChainBroken, ChainPoint, ChainWalker

from tests.support.sealed_logs import Batch, batches_of, changed, link_of

SIZES = (3, 3, 1, 4)


def walk(
    batches: list[Batch],
    after: ChainPoint = BEGINNING,
    expected: ChainPoint | None = None,
    head: ChainPoint | None = None,
) -> ChainWalker:
    walker = ChainWalker(after, expected=expected)
    for seal, events in batches:
        walker.begin(seal)
        for event in events:
            walker.event(event)
        walker.end()
    walker.finish(head)
    return walker


def points(batches: list[Batch]) -> list[ChainPoint]:
    return [ChainPoint(position=seal.last_position, hash=seal.hash) for seal, _ in batches]


def test_an_intact_log_is_intact() -> None:
    batches = batches_of(*SIZES)
    walker = walk(batches, expected=points(batches)[1], head=points(batches)[-1])
    assert (walker.point, walker.events, walker.seals) == (points(batches)[-1], 11, 4)


def test_an_empty_log_is_intact() -> None:
    assert walk([], head=BEGINNING).point == BEGINNING


def test_a_walk_goes_on_from_any_seal() -> None:
    batches = batches_of(*SIZES)
    walker = walk(batches[2:], points(batches)[1], expected=points(batches)[1])
    assert (walker.point, walker.events) == (points(batches)[-1], 5)


def test_a_walk_from_a_wrong_hash_breaks_at_once() -> None:
    batches = batches_of(*SIZES)
    with pytest.raises(ChainBroken, match="events 7 to 7 are not those that were sealed"):
        walk(batches[2:], ChainPoint(position=6, hash=bytes(32)))


def _event(batches: list[Batch], **fields: object) -> None:
    batches[1][1][1] = changed(batches[1][1][1], **fields)


def _insert(batches: list[Batch]) -> None:
    batches[1][1].insert(1, batches[1][1][0])


def _append(batches: list[Batch]) -> None:
    last = batches[1][1][-1]
    batches[1][1].append(changed(last, position=7, stream_id=str(UUID(int=9)), version=1))


def _remove(batches: list[Batch]) -> None:
    del batches[1][1][1]


def _swap(batches: list[Batch]) -> None:
    events = batches[1][1]
    events[0], events[1] = events[1], events[0]


def _swap_contents(batches: list[Batch]) -> None:
    events = batches[1][1]
    events[0], events[1] = (
        changed(events[1], position=4, version=events[0].version),
        changed(events[0], position=5, version=events[1].version),
    )


def _seal(batches: list[Batch], **fields: object) -> None:
    seal, events = batches[1]
    batches[1] = replace(seal, **fields), events  # type: ignore[arg-type]


def _drop_batch(batches: list[Batch]) -> None:
    del batches[1]


def _redate(batches: list[Batch]) -> None:
    seal, events = batches[1]
    time = seal.time + timedelta(microseconds=1)
    batches[1] = replace(seal, time=time), [changed(event, time=time) for event in events]


def _redate_before(batches: list[Batch]) -> None:
    _seal(batches, time=batches[0][0].time)


TAMPERINGS: dict[str, tuple[Callable[[list[Batch]], None], tuple[int, int]]] = {
    "another payload": (lambda log: _event(log, data=b"x"), (4, 6)),
    "another actor": (lambda log: _event(log, metadata=b"x"), (4, 6)),
    "another kind": (lambda log: _event(log, name="account.closed.v1"), (4, 6)),
    "another stream": (lambda log: _event(log, stream_id=str(UUID(int=99)), version=1), (4, 6)),
    "another version": (lambda log: _event(log, version=7), (4, 6)),
    "an event dated anew": (lambda log: _event(log, time=log[2][0].time), (4, 6)),
    "an event twice": (_insert, (4, 6)),
    "an event more": (_append, (4, 6)),
    "an event gone": (_remove, (4, 6)),
    "two events swapped": (_swap, (4, 6)),
    "the contents of two events swapped": (_swap_contents, (4, 6)),
    "a batch dated anew": (_redate, (4, 6)),
    "a batch dated before the one before it": (_redate_before, (4, 6)),
    "another hash": (lambda log: _seal(log, hash=bytes(32)), (4, 6)),
    "a batch gone": (_drop_batch, (7, 7)),
    "two batches swapped": (lambda log: log.insert(1, log.pop(2)), (7, 7)),
    "an event between two batches": (lambda log: _seal(log, last_position=7), (4, 7)),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_every_change_is_found_in_its_batch(tampering: str) -> None:
    change, (first, last) = TAMPERINGS[tampering]
    batches = batches_of(*SIZES)
    change(batches)
    with pytest.raises(ChainBroken) as caught:
        walk(batches)
    assert (caught.value.first_position, caught.value.last_position) == (first, last)


def test_a_log_whose_end_was_cut_off_is_found_by_the_expected_head() -> None:
    batches = batches_of(*SIZES)
    kept = points(batches)[-1]
    walk(batches[:2])  # by itself it looks intact
    with pytest.raises(ChainBroken, match="its end was cut off"):
        walk(batches[:2], expected=kept)


def test_a_log_that_was_rewritten_whole_is_found_by_the_expected_head() -> None:
    batches = batches_of(*SIZES)
    kept = points(batches)[1]
    _event(batches, data=b"another history")
    previous = bytes(32)
    for number, (seal, events) in enumerate(batches):
        previous = link_of(previous, events)
        batches[number] = replace(seal, hash=previous), events
    walk(batches)  # by itself it looks intact
    with pytest.raises(ChainBroken, match="was rewritten"):
        walk(batches, expected=kept)


def test_an_expected_head_in_the_middle_of_a_batch_is_found() -> None:
    with pytest.raises(ChainBroken, match="not the end of a batch"):
        walk(batches_of(*SIZES), expected=ChainPoint(position=5, hash=bytes(32)))


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (ChainPoint(position=-1, hash=bytes(32)), None),
        (ChainPoint(position=1, hash=b"short"), None),
        (ChainPoint(position=0, hash=b"x" * 32), None),
        (ChainPoint(position=9, hash=bytes(32)), ChainPoint(position=8, hash=bytes(32))),
        (BEGINNING, ChainPoint(position=3, hash=b"")),
    ],
)
def test_a_point_that_cannot_be_is_refused(after: ChainPoint, expected: ChainPoint | None) -> None:
    with pytest.raises(InvalidInput):
        ChainWalker(after, expected=expected)


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (ChainPoint(position=12, hash=bytes(32)), "the head is at 12"),
        (ChainPoint(position=11, hash=bytes(32)), "another hash"),
    ],
)
def test_a_head_that_is_not_the_last_seal_is_found(head: ChainPoint, problem: str) -> None:
    with pytest.raises(ChainBroken, match=problem):
        walk(batches_of(*SIZES), head=head)
