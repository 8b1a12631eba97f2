"""Redrives of letters in a flow's own dead letter topic; the marks are ours, and not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from catalog.events import DeadLetterSelection
from catalog.records import DeadLetterTask
from kernel.errors import Unavailable
from router.adapters.memory_letter_topic import WINDOW_RECORDS, MemoryLetterTopic
from router.application import dead_letter_task, index_watch, keep_trying, own_letters, task_gate
from router.application.dead_letter_task import TaskRun
from router.application.own_topics import NONE_OF_ITS_OWN
from router.domain.dead_letter_record import LetterId, LetterState, letter_of
from router.domain.dead_letter_task import LEFT_UNKNOWN
from router.domain.delivery import Delivery
from router.domain.outcome import OutcomeKind, failed
from router.domain.request_id import request_id

from tests.support.dead_letter_stage import START_MS, Stage, started, task_of
from tests.support.letters import START, letter_headers
from tests.support.manual_clock import until
from tests.support.router_flows import SUBSCRIBER, delivery

BAD = failed(OutcomeKind.ALGORITHM_ERROR, "bad again", error_type="InputError")
OWN = "rejects"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_gate, "LOOK_S", 0.001)
    monkeypatch.setattr(index_watch, "LOOK_S", 0.001)
    monkeypatch.setattr(keep_trying, "RETRY_FIRST_S", 0.01)
    monkeypatch.setattr(keep_trying, "RETRY_LONGEST_S", 0.01)


class OwnStage(Stage):
    """Letters of the flow go to its own topic."""

    def __init__(self) -> None:
        super().__init__()
        self.own_topic = OWN
        self.letters = self.own

    def rejected(self, original: Delivery, *, partition: int = 0, **letter: Any) -> LetterId:
        return self.own.append(
            partition,
            letter_headers(original, **letter),
            key=original.key,
            value=original.value,
            at_ms=START_MS,
        )

    async def own_state(self, letter_id: LetterId) -> LetterState:
        record = await self.own.read(letter_id)
        assert record is not None
        marks = await self.index.own_marks("flow-1", OWN, [letter_of(record)])
        return marks[letter_id].state if letter_id in marks else LetterState.OPEN


@pytest.fixture
async def stage() -> AsyncIterator[OwnStage]:
    made = OwnStage()
    async with started(made.reader.run()):
        yield made


def own_task(task_id: str = "task-1", **fields: Any) -> DeadLetterTask:
    return task_of(task_id, own_topic=True, **fields)


async def carried_out(run: TaskRun) -> None:
    async with asyncio.timeout(10):
        await run.run()


async def test_a_redrive_of_an_own_topic_sends_what_stands_there_and_writes_nothing_but_letters(
    stage: OwnStage,
) -> None:
    stage.own.append(0, (("foreign", b"1"),))
    original = delivery(7, partition=3, headers=(("ef-dl-flow", b"brought"),), epoch=0)
    letter = stage.rejected(original)
    stage.rejected(delivery(8), spec=replace(SUBSCRIBER, flow_id="other"))
    internal = stage.letter(delivery(9))
    run = stage.run_of(own_task())
    await carried_out(run)
    (sent,) = stage.target.runs
    assert sent.delivery == original
    assert sent.request_id == request_id(original, flow_id="flow-1", generation=1)
    assert stage.ends == [("task-1", 1, 0, "")]
    assert await stage.own_state(letter) is LetterState.REDRIVEN
    assert len(stage.own.log[0]) == 3
    assert stage.state(internal) is LetterState.OPEN


async def test_what_dies_again_in_an_own_topic_is_a_letter_there_and_not_taken_by_the_same_task(
    stage: OwnStage,
) -> None:
    stage.target.default = BAD
    letter = stage.rejected(delivery(1))
    later = datetime.now(UTC) + timedelta(days=9)
    await carried_out(stage.run_of(own_task(requested_time=later)))
    assert stage.ends == [("task-1", 0, 1, "")]
    assert await stage.own_state(letter) is LetterState.DIED_AGAIN
    await carried_out(stage.run_of(own_task("task-2", requested_time=later)))
    assert [run.delivery.offset for run in stage.target.runs] == [1, 1]
    born = [letter_of(one) for one in stage.own.log[1]]
    assert [(one.generation, one.born_in_task) for one in born] == [(1, "task-1"), (2, "task-2")]


async def test_a_second_redrive_of_an_own_topic_takes_only_what_is_open(stage: OwnStage) -> None:
    stage.rejected(delivery(1))
    await carried_out(stage.run_of(own_task()))
    stage.rejected(delivery(2))
    await carried_out(stage.run_of(own_task("task-2")))
    assert [run.delivery.offset for run in stage.target.runs] == [1, 2]
    assert stage.ends[-1] == ("task-2", 1, 0, "")


async def test_a_selection_narrows_a_redrive_of_an_own_topic_down(stage: OwnStage) -> None:
    stage.rejected(delivery(1), kind=OutcomeKind.CRASHED)
    chosen = stage.rejected(delivery(2))
    stage.rejected(delivery(3))
    selection = DeadLetterSelection(letter_ids=(str(chosen), "0-0"), error_type="InputError",
                                    offset_first=2, offset_last=9)  # fmt: skip
    await carried_out(stage.run_of(own_task(selection=selection)))
    assert [run.delivery.offset for run in stage.target.runs] == [2]


async def test_whoever_takes_over_a_redrive_of_an_own_topic_sends_only_what_has_no_mark(
    stage: OwnStage,
) -> None:
    for number in range(6):
        stage.rejected(delivery(number))
    stage.target.hold(b"value-3")
    async with started(stage.run_of(own_task()).run()):
        await stage.target.until_runs(4)  # killed in the fourth, with three marks written
    await stage.target.let_go(b"value-3")
    await carried_out(stage.run_of(own_task()))
    assert stage.target.values == [f"value-{n}".encode() for n in (0, 1, 2, 3, 3, 4, 5)]
    assert stage.ends == [("task-1", 6, 0, "")]


async def test_an_own_topic_is_worked_in_portions_without_gap_or_repeat(
    stage: OwnStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_letters, "PORTION_LETTERS_MAX", 4)
    for number in (5, 3, 8, 1, 9, 2, 7, 4, 6, 0):
        stage.rejected(delivery(number, key=b"%d" % number), partition=number % 2)
    await carried_out(stage.run_of(own_task()))
    assert sorted(run.delivery.offset for run in stage.target.runs) == list(range(10))
    assert stage.ends == [("task-1", 10, 0, "")]


async def test_letters_of_a_key_in_an_own_topic_keep_the_order_of_their_source(
    stage: OwnStage,
) -> None:
    for offset in (5, 3, 4, 1, 2):
        stage.rejected(delivery(offset))
    await carried_out(stage.run_of(own_task()))
    assert [run.delivery.offset for run in stage.target.runs] == [1, 2, 3, 4, 5]


async def test_an_own_topic_that_is_away_delays_its_redrive_and_ends_nothing(
    stage: OwnStage,
) -> None:
    stage.rejected(delivery(1))
    stage.own.away = "no broker"
    run = stage.run_of(own_task())
    async with started(run.run()) as working:
        await until(lambda: run.progress.reason == "no broker")
        assert run.progress.left == LEFT_UNKNOWN
        stage.own.away = None
        await until(working.done)
    assert stage.ends == [("task-1", 1, 0, "")]


async def test_a_topic_made_anew_has_letters_that_no_mark_is_about(stage: OwnStage) -> None:
    stage.rejected(delivery(1))
    await carried_out(stage.run_of(own_task()))
    stage.own.make_anew()
    headers = letter_headers(delivery(2))
    stage.own.append(0, headers, key=b"k", value=b"value-2", at_ms=START_MS + 1)
    await carried_out(stage.run_of(own_task("task-2")))
    assert [run.delivery.offset for run in stage.target.runs] == [1, 2]


async def test_a_flow_without_a_topic_of_its_own_ends_the_task_and_says_so(
    stage: OwnStage,
) -> None:
    stage.own_topic = ""
    await carried_out(stage.run_of(own_task()))
    assert stage.ends == [("task-1", 0, 0, NONE_OF_ITS_OWN)]


async def test_a_paused_flow_makes_a_redrive_of_its_own_topic_wait(stage: OwnStage) -> None:
    stage.rejected(delivery(1))
    stage.ready = "the flow is paused"
    run = stage.run_of(own_task())
    async with started(run.run()) as working:
        await until(lambda: run.progress.reason == "the flow is paused")
        stage.ready = SUBSCRIBER
        await until(working.done)
    assert stage.ends == [("task-1", 1, 0, "")]


async def test_what_comes_into_an_own_topic_after_the_beginning_waits_for_the_next_redrive(
    stage: OwnStage,
) -> None:
    stage.rejected(delivery(1), at=START + timedelta(days=9))
    stage.target.hold(b"value-1")
    async with started(stage.run_of(own_task()).run()) as working:
        await stage.target.until_runs(1)
        stage.rejected(delivery(2))
        await stage.target.let_go(b"value-1")
        await until(working.done)
    assert [run.delivery.offset for run in stage.target.runs] == [1]


async def test_an_index_that_is_made_again_does_not_make_an_own_topics_redrive_repeat(
    stage: OwnStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_letters, "PORTION_LETTERS_MAX", 3)
    for number in range(9):
        stage.rejected(delivery(number, key=None))
    real, begun = stage.own.forwards, 0

    def forwards(spans: Any) -> Any:
        nonlocal begun
        begun += 1
        if begun == 2:
            stage.index.drop()
        return real(spans)

    monkeypatch.setattr(stage.own, "forwards", forwards)
    await carried_out(stage.run_of(own_task()))
    assert sorted(run.delivery.offset for run in stage.target.runs) == list(range(9))
    assert stage.ends == [("task-1", 9, 0, "")]


async def test_a_scan_that_fails_goes_on_where_it_had_found_nothing(stage: OwnStage) -> None:
    for number in range(7):
        stage.own.append(0, (("foreign", b"%d" % number),))
    stage.rejected(delivery(1))
    own, failures = stage.own, [Unavailable("gone for a moment")]
    begun: list[int] = []
    real = own.forwards

    async def forwards(spans: Any) -> Any:
        begun.extend(begin for begin, _ in spans.values())
        count = 0
        async for batch in real(spans):
            yield batch
            count += 1
            if count == 2 and failures:
                raise failures.pop()

    own.forwards = forwards  # type: ignore[method-assign]
    await carried_out(stage.run_of(own_task()))
    assert begun == [0, 0, 6, 0], "both partitions, and the first again from where it failed"
    assert stage.ends == [("task-1", 1, 0, "")]


async def test_a_scan_that_fails_again_and_again_keeps_what_it_has_found(stage: OwnStage) -> None:
    count = 2 * WINDOW_RECORDS
    for number in range(count):
        stage.rejected(delivery(number))
    real = stage.own.forwards

    async def forwards(spans: Any) -> Any:
        async for batch in real(spans):
            yield batch
            raise Unavailable("gone after each batch")

    stage.own.forwards = forwards  # type: ignore[method-assign]
    await carried_out(stage.run_of(own_task()))
    assert [run.delivery.offset for run in stage.target.runs] == list(range(count))
    assert stage.ends == [("task-1", count, 0, "")]


async def test_a_task_whose_flow_is_deleted_ends_though_nobody_can_read_the_topic_any_more(
    stage: OwnStage,
) -> None:
    stage.rejected(delivery(1))

    async def forwards(spans: Any) -> Any:
        stage.ready = None
        raise Unavailable("its connection was deleted as well")
        yield []

    stage.own.forwards = forwards  # type: ignore[method-assign]
    await carried_out(stage.run_of(own_task()))
    assert stage.ends == [("task-1", 0, 0, dead_letter_task.FLOW_GONE)]


async def test_a_flow_that_is_given_another_topic_has_its_redrive_end_in_the_old_one(
    stage: OwnStage,
) -> None:
    letter, scanned = stage.rejected(delivery(1)), stage.own
    real = scanned.forwards

    async def forwards(spans: Any) -> Any:
        async for batch in real(spans):
            yield batch
        stage.own_topic, stage.own = "others", MemoryLetterTopic()

    scanned.forwards = forwards  # type: ignore[method-assign]
    await carried_out(stage.run_of(own_task()))
    assert stage.ends == [("task-1", 1, 0, "")]
    stage.own_topic, stage.own = OWN, scanned
    assert await stage.own_state(letter) is LetterState.REDRIVEN
