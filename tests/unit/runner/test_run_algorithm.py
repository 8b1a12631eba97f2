"""The order of things: version, window, run, completion, answer; with the world scripted."""

from __future__ import annotations

import asyncio

import pytest
from catalog.events import SourceKind
from kernel.errors import NotFound, Overloaded, Unavailable
from runner.application import run_algorithm
from runner.application.background_runs import BackgroundRuns
from runner.domain.run import Execution, RunError
from runner.domain.sessions import Sessions
from runner.ports import Job

from tests.support.runner_catalog import CALLER, OWNER
from tests.unit.runner.stage import COMMIT, DONE, Stage

FAILED = Execution(outcome=RunError(message="bad"), duration_s=0.1)


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_the_resolved_build_is_run(stage: Stage) -> None:
    answer = await stage.runs.run(stage.request(version="latest"))
    assert answer.execution is DONE
    assert stage.executor.jobs[0].commit_sha == COMMIT
    assert stage.notes.heard == ["started", "succeeded"]


async def test_nothing_runs_in_vain_while_completions_cannot_be_written(stage: Stage) -> None:
    stage.registry.follow(stage.algorithm_id)
    stage.completions.reachable = False
    with pytest.raises(Unavailable):
        await stage.runs.run(stage.request())
    assert stage.executor.jobs == []


async def test_a_failure_leaves_a_completion_and_is_run_again(stage: Stage) -> None:
    stage.registry.follow(stage.algorithm_id)
    stage.executor.does = lambda job: FAILED
    for _ in range(2):
        assert (await stage.runs.run(stage.request())).execution is FAILED
    assert (len(stage.executor.jobs), len(stage.written)) == (2, 2)


async def test_nothing_runs_before_the_whole_log_is_known(stage: Stage) -> None:
    stage.registry.caught_up.clear()
    with pytest.raises(Unavailable, match="caught up"):
        await stage.runs.run(stage.request())
    assert stage.executor.jobs == []


async def test_a_source_that_only_another_runner_can_run_is_tried_again_there(
    stage: Stage,
) -> None:
    name = stage.registry.add_algorithm("model", "http://model", SourceKind.ENDPOINT)
    stage.registry.publish(name, COMMIT)
    with pytest.raises(Unavailable):
        await stage.runs.run(stage.request(algorithm_name="model"))


async def test_only_live_runs_leave_completions(stage: Stage) -> None:
    stage.registry.follow(stage.algorithm_id)
    await stage.runs.run(stage.request(live=False, mode="replay"))
    assert stage.written == []


async def test_a_cancelled_caller_leaves_the_run_to_the_next_one(stage: Stage) -> None:
    stage.executor.gate.clear()
    first = asyncio.create_task(stage.runs.run(stage.request()))
    await stage.executor.entered.wait()
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.create_task(stage.runs.run(stage.request()))
    await asyncio.sleep(0)
    stage.executor.gate.set()
    assert (await second).execution is DONE
    assert len(stage.executor.jobs) == 1


async def test_runs_without_a_request_id_of_the_caller_are_never_joined(stage: Stage) -> None:
    for _ in range(2):
        await stage.runs.run(stage.request(repeatable=False))
    assert len(stage.executor.jobs) == 2


async def test_a_refused_run_is_told_and_not_remembered(stage: Stage) -> None:
    def refuse(job: Job) -> Execution:
        raise Overloaded("busy", retry_after_s=1.0)

    stage.executor.does = refuse
    with pytest.raises(Overloaded):
        await stage.runs.run(stage.request())
    assert stage.notes.heard == ["started", "overloaded", "refused: Overloaded"]
    stage.executor.does = lambda job: DONE
    assert (await stage.runs.run(stage.request())).execution is DONE


async def test_nothing_runs_on_a_stale_catalog(stage: Stage) -> None:
    stage.registry.age_s = 300.1
    with pytest.raises(Unavailable):
        await stage.runs.run(stage.request())
    assert stage.executor.jobs == []


async def test_an_unknown_algorithm_is_not_found(stage: Stage) -> None:
    with pytest.raises(NotFound, match="algo://acme/nothing not found"):
        await stage.runs.run(stage.request(algorithm_name="nothing"))


async def test_the_owner_sees_more_than_a_caller(stage: Stage) -> None:
    assert (await stage.runs.run(stage.request(account_id=OWNER))).for_owner
    assert not (await stage.runs.run(stage.request())).for_author


async def test_closing_waits_for_runs_and_takes_no_more(stage: Stage) -> None:
    stage.executor.gate.clear()
    run = asyncio.create_task(stage.runs.run(stage.request()))
    await stage.executor.entered.wait()
    closing = asyncio.create_task(stage.runs.close(grace_s=10.0))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await stage.runs.run(stage.request())
    stage.executor.gate.set()
    await closing
    assert (await run).execution is DONE


async def test_a_run_above_the_grace_is_ended_and_its_caller_told(stage: Stage) -> None:
    stage.executor.gate.clear()
    run = asyncio.create_task(stage.runs.run(stage.request()))
    await stage.executor.entered.wait()
    await stage.runs.close(grace_s=0.0)
    with pytest.raises(Unavailable):
        await run


async def test_background_runs_are_bounded_and_give_their_session_back(stage: Stage) -> None:
    background, sessions = BackgroundRuns(stage.runs, running_max=1), Sessions(per_account_max=9)
    stage.executor.gate.clear()
    background.accept(stage.request(request_id="1"), sessions.open(CALLER))
    with pytest.raises(Overloaded):
        background.accept(stage.request(request_id="2"), sessions.open(CALLER))
    stage.executor.gate.set()
    await background.close()
    assert sessions.of_account(CALLER) == 1, "the refused one is its caller's to close"
    assert len(stage.executor.jobs) == 1


async def test_an_unexpected_error_of_a_background_run_is_logged_with_its_request_id(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(job: Job) -> Execution:
        raise RuntimeError("a defect")

    stage.executor.does = fail
    background, sessions = BackgroundRuns(stage.runs), Sessions(per_account_max=1)
    background.accept(stage.request(request_id="void-1"), sessions.open(CALLER))
    await background.close()
    (told,) = caplog.records
    assert (told.levelname, vars(told)["request_id"]) == ("ERROR", "void-1")
    assert told.exc_info is not None
    assert str(told.exc_info[1]) == "a defect"
    assert sessions.of_account(CALLER) == 0


async def test_a_version_that_the_caller_knows_and_we_do_not_yet_is_waited_for(
    stage: Stage,
) -> None:
    ahead = stage.registry.catalog.position + 2
    call = asyncio.create_task(stage.runs.run(stage.request(version="2.0.0", position=ahead)))
    await asyncio.sleep(0)
    assert not call.done()
    stage.registry.publish(stage.algorithm_id, "d" * 40, version="2.0.0")
    await stage.registry.tell()
    async with asyncio.timeout(5):
        await call
    assert stage.executor.jobs[0].commit_sha == "d" * 40


async def test_a_position_that_stays_unknown_is_no_reason_to_say_there_is_no_version(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_algorithm, "POSITION_WAIT_MAX_S", 0.0)
    with pytest.raises(Unavailable):
        await stage.runs.run(stage.request(version="2.0.0", position=10_000))
    assert stage.executor.jobs == []
