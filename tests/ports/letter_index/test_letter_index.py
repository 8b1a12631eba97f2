"""What every index of dead letters promises."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from catalog.events import DeadLetterSelection, FailureClass
from kernel.errors import VersionConflict
from router.dead_letter_ports import ReadPosition
from router.domain.dead_letter_query import LetterQuery, page_key, source_key
from router.domain.dead_letter_record import LetterId, LetterState, letter_of
from router.domain.outcome import OutcomeKind

from tests.ports.letter_index.conftest import Index
from tests.support.letters import START, folded, ids, letter_record, mark_record, own_mark_record
from tests.support.router_flows import SUBSCRIBER, delivery

OTHER = replace(SUBSCRIBER, flow_id="flow-2")
ALL = frozenset(LetterState)
AT = ReadPosition(next_offset=1, last_ms=5)


def query(
    flow_id: str = "", states: frozenset[LetterState] = ALL, **selection: object
) -> LetterQuery:
    return LetterQuery(
        flow_id=flow_id,
        states=states,
        selection=DeadLetterSelection(**selection),  # type: ignore[arg-type]
    )


async def found(index: Index, asked: LetterQuery) -> list[str]:
    """What fits, newest first; pages, counts and work agree on it."""
    letters = await index.queries.page(asked, below=None, letters_max=100)
    worked = await index.queries.in_order(asked, above=None, letters_max=100)
    assert sorted(ids(worked)) == sorted(ids(letters))
    assert await index.queries.count(asked) == len(letters)
    assert all(asked.fits(letter) for letter in letters)
    return ids(letters)


async def test_a_letter_is_found_with_everything_that_it_says(index: Index) -> None:
    record = letter_record(3, 7, original=delivery(9, key=b"\x00key", partition=2), error="a\0b")
    await index.take(record)
    letter = await index.queries.find(LetterId(partition=3, offset=7))
    assert letter == letter_of(record)
    assert letter is not None
    assert (letter.topic, letter.source_partition, letter.source_offset) == ("topic", 2, 9)
    assert (letter.key, letter.error, letter.state) == (b"\x00key", "a\ufffdb", LetterState.OPEN)


async def test_what_is_not_there_is_not_found(index: Index) -> None:
    assert await index.queries.find(LetterId(partition=0, offset=0)) is None


async def test_prepare_may_come_again_and_changes_nothing(index: Index) -> None:
    await index.take(letter_record(0, 0))
    await index.fold.prepare()
    assert await index.queries.count(LetterQuery()) == 1


async def test_the_first_mark_counts(index: Index) -> None:
    letter_id = LetterId(partition=0, offset=0)
    await index.take(
        letter_record(0, 0),
        mark_record(1, letter_id, LetterState.DIED_AGAIN, task_id="task-1"),
        mark_record(2, letter_id, LetterState.PURGED, task_id="task-2"),
    )
    letter = await index.queries.find(letter_id)
    assert letter is not None
    assert (letter.state, letter.task_id) == (LetterState.DIED_AGAIN, "task-1")
    assert letter.state_time == START + timedelta(hours=1)


async def test_reading_a_record_twice_changes_nothing(index: Index) -> None:
    letter_id = LetterId(partition=0, offset=0)
    records = (letter_record(0, 0), mark_record(1, letter_id, LetterState.REDRIVEN))
    await index.take(*records)
    before = await index.queries.find(letter_id)
    await index.take(*records)
    assert await index.queries.find(letter_id) == before


async def test_a_mark_on_a_letter_that_is_not_there_changes_nothing(index: Index) -> None:
    await index.take(mark_record(5, LetterId(partition=0, offset=4), LetterState.PURGED))
    assert await found(index, query()) == []


async def test_of_two_readers_one_is_refused_with_all_it_brought(index: Index) -> None:
    await index.fold.fold(0, folded(letter_record(0, 0)), expected=None, now=AT)
    with pytest.raises(VersionConflict):
        await index.fold.fold(0, folded(letter_record(0, 8)), expected=None, now=AT)
    moved = replace(AT, last_ms=6)
    with pytest.raises(VersionConflict):
        await index.fold.fold(0, folded(letter_record(0, 8)), expected=moved, now=AT)
    assert await found(index, query()) == ["0-0"]
    assert await index.fold.positions() == {0: AT}


async def test_a_partition_is_forgotten_alone_and_only_at_its_position(index: Index) -> None:
    await index.fold.fold(0, folded(letter_record(0, 0)), expected=None, now=AT)
    await index.fold.fold(1, folded(letter_record(1, 0)), expected=None, now=AT)
    with pytest.raises(VersionConflict):
        await index.fold.forget(0, expected=replace(AT, next_offset=2))
    await index.fold.forget(0, expected=AT)
    assert await found(index, query()) == ["1-0"]
    assert await index.fold.positions() == {1: AT}


async def test_old_letters_of_the_named_partitions_are_dropped(index: Index) -> None:
    young = START + timedelta(hours=2)
    await index.take(letter_record(0, 0), letter_record(0, 1, at=young))
    await index.take(letter_record(1, 0))
    assert await index.fold.expire([0], written_before=START + timedelta(hours=1)) == 1
    assert await found(index, query()) == ["0-1", "1-0"]


async def test_each_field_of_a_selection_narrows_it_down(index: Index) -> None:
    await index.take(
        letter_record(0, 0, original=delivery(10, key=b"a")),
        letter_record(0, 1, original=delivery(11, key=None), at=START + timedelta(hours=1)),
        letter_record(0, 2, original=delivery(12, key=b""), kind=OutcomeKind.CRASHED),
        letter_record(0, 3, original=delivery(13, partition=4, topic="more"), error_type="Odd"),
        letter_record(0, 4, original=delivery(14), spec=OTHER),
    )
    assert await found(index, query()) == ["0-1", "0-4", "0-3", "0-2", "0-0"]
    assert await found(index, query("flow-2")) == ["0-4"]
    assert await found(index, query(since=START + timedelta(hours=1))) == ["0-1"]
    assert "0-1" not in await found(index, query(until=START + timedelta(hours=1)))
    assert await found(index, query(failure=FailureClass.CRASHED)) == ["0-2"]
    assert await found(index, query(error_type="Odd")) == ["0-3"]
    assert await found(index, query(record_key=b"a")) == ["0-0"]
    assert await found(index, query(topic="more")) == ["0-3"]
    assert await found(index, query(partitions=(4, 5))) == ["0-3"]
    assert await found(index, query(offset_first=11, offset_last=12)) == ["0-1", "0-2"]
    assert await found(index, query(letter_ids=("0-2", "0-0", "9-9"))) == ["0-2", "0-0"]


async def test_states_and_tasks_tell_letters_apart(index: Index) -> None:
    await index.take(
        letter_record(0, 0),
        letter_record(0, 1),
        letter_record(0, 2, task_id="task-1"),
        mark_record(3, LetterId(partition=0, offset=0), LetterState.REDRIVEN),
        mark_record(4, LetterId(partition=0, offset=1), LetterState.DIED_AGAIN),
    )
    assert await found(index, LetterQuery()) == ["0-2"]
    assert await found(index, LetterQuery(not_born_in="task-1")) == []
    assert await found(index, query(states=frozenset({LetterState.REDRIVEN}))) == ["0-0"]
    assert await index.queries.tally("task-1") == {
        LetterState.REDRIVEN: 1,
        LetterState.DIED_AGAIN: 1,
    }
    assert await found(index, LetterQuery(given_up_before=START)) == []


async def test_pages_go_down_and_work_goes_up_without_gap_or_repeat(index: Index) -> None:
    times = [START + timedelta(seconds=number // 3) for number in range(10)]
    await index.take(
        *(
            letter_record(0, number, at=at, original=delivery(50 - number, topic="aZé"[number % 3]))
            for number, at in enumerate(times)
        )
    )
    whole = await index.queries.page(LetterQuery(), below=None, letters_max=100)
    assert [page_key(letter) for letter in whole] == sorted(map(page_key, whole), reverse=True)
    paged = list(whole[:1])
    while page := await index.queries.page(LetterQuery(), below=page_key(paged[-1]), letters_max=4):
        paged += page
    assert paged == whole
    work = await index.queries.in_order(LetterQuery(), above=None, letters_max=100)
    assert [source_key(letter) for letter in work] == sorted(map(source_key, work))
    worked = list(work[:1])
    while part := await index.queries.in_order(
        LetterQuery(), above=source_key(worked[-1]), letters_max=4
    ):
        worked += part
    assert worked == work


async def test_figures_count_open_letters_of_the_named_partitions(index: Index) -> None:
    await index.take(
        letter_record(0, 0, at=START + timedelta(hours=1)),
        letter_record(0, 1, at=START + timedelta(hours=2)),
        letter_record(0, 2, spec=OTHER, at=START + timedelta(hours=3)),
        letter_record(0, 3),
        mark_record(4, LetterId(partition=0, offset=3), LetterState.PURGED),
    )
    await index.take(letter_record(1, 0))
    figures = await index.queries.figures([0], flows_max=1)
    assert (figures.open_letters, figures.by_flow) == (3, {"flow-1": 2})
    assert figures.oldest_open == START + timedelta(hours=1)
    empty = await index.queries.figures([7], flows_max=1)
    assert (empty.open_letters, empty.oldest_open, empty.by_flow) == (0, None, {})


async def test_the_first_own_mark_counts_and_is_about_one_letter_of_one_topic(index: Index) -> None:
    letter = letter_of(letter_record(3, 7))
    await index.take(
        own_mark_record(5, 0, letter, LetterState.DIED_AGAIN),
        own_mark_record(5, 1, letter, LetterState.REDRIVEN, task_id="task-2"),
    )
    marks = await index.queries.own_marks("flow-1", "rejects", [letter])
    (mark,) = marks.values()
    now = mark.put_on(letter)
    assert (now.letter_id, now.state) == (letter.letter_id, LetterState.DIED_AGAIN)
    assert (now.task_id, now.state_time) == ("task-1", START + timedelta(hours=1))
    made_anew = replace(letter, written_ms=letter.written_ms + 1)
    elsewhere = replace(letter, letter_id=LetterId(partition=3, offset=8))
    for flow_id, topic, one in (
        ("flow-2", "rejects", letter),
        ("flow-1", "others", letter),
        ("flow-1", "rejects", made_anew),
        ("flow-1", "rejects", elsewhere),
    ):
        assert await index.queries.own_marks(flow_id, topic, [one]) == {}
    assert await index.queries.own_marks("flow-1", "rejects", []) == {}
    assert await found(index, query()) == []


async def test_own_marks_are_counted_by_their_task_with_its_other_letters(index: Index) -> None:
    first, second = (letter_of(letter_record(0, number)) for number in (1, 2))
    await index.take(
        letter_record(0, 0),
        mark_record(1, LetterId(partition=0, offset=0), LetterState.REDRIVEN),
        own_mark_record(0, 2, first, LetterState.REDRIVEN),
        own_mark_record(0, 3, second, LetterState.DIED_AGAIN),
        own_mark_record(0, 4, second, LetterState.REDRIVEN, task_id="task-2"),
    )
    assert await index.queries.tally("task-1") == {
        LetterState.REDRIVEN: 2,
        LetterState.DIED_AGAIN: 1,
    }
    assert await index.queries.tally("task-2") == {}


async def test_own_marks_are_forgotten_and_expire_with_what_else_their_partition_brought(
    index: Index,
) -> None:
    letters = [letter_of(letter_record(0, number)) for number in (1, 2)]
    for partition, letter in enumerate(letters):
        await index.take(own_mark_record(partition, 0, letter, LetterState.REDRIVEN))

    async def marked() -> list[int]:
        marks = await index.queries.own_marks("flow-1", "rejects", letters)
        return sorted(letter_id.offset for letter_id in marks)

    assert await index.fold.expire([0, 1], written_before=START + timedelta(hours=1)) == 0
    assert await marked() == [1, 2]
    assert await index.fold.expire([1], written_before=START + timedelta(hours=2)) == 1
    assert await marked() == [1]
    await index.fold.forget(0, expected=(await index.fold.positions())[0])
    assert await marked() == []
