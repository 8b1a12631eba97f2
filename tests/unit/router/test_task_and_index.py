"""An index that is made again while a task works: no letter is missed, and none is sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from catalog.records import DeadLetterTaskKind
from router.application import index_watch, keep_trying
from router.application.dead_letter_task import TaskRun
from router.dead_letter_ports import ReadPosition
from router.domain.dead_letter_mark import fold
from router.domain.dead_letter_record import LetterState

from tests.support.dead_letter_stage import START_MS, Stage, started, task_of
from tests.support.manual_clock import until
from tests.support.router_flows import delivery


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_watch, "LOOK_S", 0.001)
    monkeypatch.setattr(keep_trying, "RETRY_LONGEST_S", 0.2)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    async with started(made.reader.run()):
        yield made


async def carried_out(run: TaskRun) -> None:
    async with asyncio.timeout(10):
        await run.run()


@pytest.mark.parametrize("kind", [DeadLetterTaskKind.REDRIVE, DeadLetterTaskKind.PURGE])
async def test_an_index_that_is_made_again_meanwhile_hides_no_letter_from_a_task(
    stage: Stage, kind: DeadLetterTaskKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = [stage.letter(delivery(number, key=b"%d" % number)) for number in range(250)]
    real, looks = stage.index.in_order, 0

    async def in_order(*given: Any, **named: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks == 2:
            stage.index.drop()
        return await real(*given, **named)

    monkeypatch.setattr(stage.index, "in_order", in_order)
    await carried_out(stage.run_of(task_of(kind=kind, rate_per_s=1e6)))
    assert stage.ends == [("task-1", 250, 0, "")]
    assert LetterState.OPEN not in {stage.state(letter) for letter in letters}
    assert len(stage.target.runs) == (250 if kind is DeadLetterTaskKind.REDRIVE else 0)


async def test_a_letter_that_one_look_did_not_show_is_found_by_the_next_walk(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.letter(delivery(1))
    stage.letter(delivery(2), partition=1)
    real, looks = stage.index.in_order, 0

    async def in_order(*given: Any, **named: Any) -> Any:
        nonlocal looks
        looks += 1
        found = await real(*given, **named)
        return found[:1] if looks == 1 else found if looks > 2 else []

    monkeypatch.setattr(stage.index, "in_order", in_order)
    await carried_out(stage.run_of(task_of()))
    assert stage.ends == [("task-1", 2, 0, "")]


async def test_what_an_index_shows_as_open_while_it_is_made_again_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage()
    done, still = stage.letter(delivery(1)), stage.letter(delivery(2))
    await stage.topic.write(done, LetterState.REDRIVEN, task_id="task-0")
    real, looks = stage.index.in_order, 0

    async def in_order(*given: Any, **named: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks == 1:  # dropped, and both letters read again, the mark not yet
            stage.index.drop()
            now = ReadPosition(next_offset=2, last_ms=START_MS)
            await stage.index.fold(0, fold(stage.topic.log[0][:2]), expected=None, now=now)
        return await real(*given, **named)

    monkeypatch.setattr(stage.index, "in_order", in_order)
    run = stage.run_of(task_of())
    async with started(stage.reader.run()):
        await until(lambda: still in stage.index.letters)
    async with started(run.run()) as working:
        await until(lambda: run.progress.reason == index_watch.NOT_READ_YET)
        async with started(stage.reader.run()):
            await until(working.done)
    assert [one.delivery.offset for one in stage.target.runs] == [2]
    assert stage.state(still) is LetterState.REDRIVEN


async def test_a_letter_whose_original_is_gone_ends_no_task_late(stage: Stage) -> None:
    stage.letter(delivery(1))
    letter = stage.letter(delivery(2))
    await until(lambda: letter in stage.index.letters)
    stage.topic.expire(0, 1)
    await carried_out(stage.run_of(task_of()))
    assert stage.ends == [("task-1", 1, 0, "")]


async def test_a_topic_that_is_made_anew_while_a_task_waits_for_the_index_ends_the_wait() -> None:
    stage = Stage()
    stage.letter(delivery(1))
    run = stage.run_of(task_of())
    async with started(run.run()) as working:
        await until(lambda: run.progress.reason == index_watch.NOT_READ_YET)
        stage.topic.make_anew()
        await until(working.done)
    assert stage.ends == [("task-1", 0, 0, "")]
