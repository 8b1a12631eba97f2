"""What a run leaves is decided when it begins, and written before anybody hears of the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from kernel.errors import Unavailable
from runner.domain.completion import Completion
from runner.domain.limits import REPEAT_WINDOW_S

from tests.unit.runner.stage import COMMIT, DONE, Stage

Change = Callable[[Stage, str], None]
"""Of the catalog, given the id of the flow that follows."""


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_an_answer_waits_for_its_completion(stage: Stage) -> None:
    stage.registry.follow(stage.algorithm_id)
    await _succeed_unwritten(stage)
    stage.completions.reachable = True
    for _ in range(2):
        await stage.runs.run(stage.request())
        assert (len(stage.executor.jobs), len(stage.written)) == (1, 1)


async def test_a_success_whose_completion_could_not_be_written_is_not_run_again(
    stage: Stage,
) -> None:
    stage.registry.follow(stage.algorithm_id)
    for _ in range(3):
        await _succeed_unwritten(stage)
    stage.completions.reachable = True
    assert (await stage.runs.run(stage.request())).execution is DONE
    assert (len(stage.executor.jobs), len(stage.written)) == (1, 1)
    assert "unwritten" in stage.notes.heard


async def test_a_flow_disabled_during_a_run_still_gets_its_completion(stage: Stage) -> None:
    flow_id = stage.registry.follow(stage.algorithm_id)
    began = stage.registry.catalog.position
    stage.executor.gate.clear()
    run = asyncio.create_task(stage.runs.run(stage.request()))
    await stage.executor.entered.wait()
    stage.registry.disable(flow_id)
    stage.executor.gate.set()
    await run
    (completion,) = stage.written
    assert _header(completion, "ef-position") == str(began)


def _disable(stage: Stage, flow_id: str) -> None:
    stage.registry.disable(flow_id)


def _publish_the_same_build_anew(stage: Stage, _: str) -> None:
    stage.registry.publish(stage.algorithm_id, COMMIT, "2.0.0")


def _follow_once_more(stage: Stage, _: str) -> None:
    stage.registry.follow(stage.algorithm_id)


@pytest.mark.parametrize("change", [_disable, _publish_the_same_build_anew, _follow_once_more])
async def test_a_completion_written_later_is_that_of_the_moment_when_its_run_began(
    stage: Stage, change: Change
) -> None:
    flow_id = stage.registry.follow(stage.algorithm_id)
    began = stage.registry.catalog.position
    await _succeed_unwritten(stage)
    change(stage, flow_id)
    await _succeed_unwritten(stage)
    stage.completions.reachable = True
    first, joined = await asyncio.gather(
        *(stage.runs.run(stage.request(version="latest")) for _ in range(2))
    )
    assert first.execution is joined.execution is DONE
    assert (len(stage.executor.jobs), len(stage.written)) == (1, 1)
    assert _header(stage.written[0], "ef-position") == str(began)
    assert _header(stage.written[0], "ef-version") == "1.0.0"


async def test_a_flow_that_follows_later_gets_no_completion_of_an_earlier_run(
    stage: Stage,
) -> None:
    await stage.runs.run(stage.request())
    stage.registry.follow(stage.algorithm_id)
    await stage.runs.run(stage.request())
    assert (len(stage.executor.jobs), stage.written) == (1, [])


async def test_a_success_that_was_forgotten_before_it_was_written_is_another_run(
    stage: Stage,
) -> None:
    stage.registry.follow(stage.algorithm_id)
    await _succeed_unwritten(stage)
    stage.registry.follow(stage.algorithm_id)
    begins = stage.registry.catalog.position
    stage.now_s += REPEAT_WINDOW_S
    stage.completions.reachable = True
    await stage.runs.run(stage.request())
    assert len(stage.executor.jobs) == 2
    (completion,) = stage.written
    assert _header(completion, "ef-position") == str(begins)


async def _succeed_unwritten(stage: Stage) -> None:
    """A call whose run succeeds (or has), while our Kafka takes no completion."""
    stage.executor.does = stage.lose_completions
    with pytest.raises(Unavailable):
        await stage.runs.run(stage.request(version="latest"))
    stage.executor.does = lambda job: DONE


def _header(completion: Completion, name: str) -> str:
    return dict(completion.headers)[name].decode()
