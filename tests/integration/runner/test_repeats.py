"""One request id, one run: joined while it goes on, repeated from the window after a success."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.integration.runner.world import World
from tests.support.runner_catalog import OWNER

WAIT_S = 10.0


async def test_a_second_call_joins_the_run_in_progress(world: World, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    order = {"do": "wait for", "path": str(gate), "started": str(started)}
    first = asyncio.create_task(world.run("probe", json=order, X_Eventflows_Request_Id="join"))
    async with asyncio.timeout(WAIT_S):
        while not started.exists():
            await asyncio.sleep(0.01)
    second = asyncio.create_task(world.run("probe", json=order, X_Eventflows_Request_Id="join"))
    async with asyncio.timeout(WAIT_S):
        while _repeats(world, "joined") < 1:
            await asyncio.sleep(0.01)
    gate.touch()
    answers = await asyncio.gather(first, second)
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].json == answers[1].json
    assert started.read_text() == "x"


async def test_a_success_is_repeated_without_a_second_run(world: World, tmp_path: Path) -> None:
    order = {"do": "append", "path": str(tmp_path / "runs")}
    first = await world.run("probe", json=order, X_Eventflows_Request_Id="success")
    second = await world.run("probe", json=order, X_Eventflows_Request_Id="success")
    assert first.json == second.json
    assert (tmp_path / "runs").read_text() == "x"


async def test_another_account_with_the_same_request_id_runs_itself(
    world: World, tmp_path: Path
) -> None:
    order = {"do": "append", "path": str(tmp_path / "runs")}
    await world.run("probe", json=order, X_Eventflows_Request_Id="shared")
    await world.run(
        "probe", json=order, X_Eventflows_Request_Id="shared", X_Eventflows_Account=OWNER
    )
    assert (tmp_path / "runs").read_text() == "xx"


async def test_a_failure_is_never_remembered(world: World) -> None:
    first = await world.run("probe", json={"do": "exit"}, X_Eventflows_Request_Id="failure")
    second = await world.run("probe", json={"do": "pid"}, X_Eventflows_Request_Id="failure")
    assert first.json["error"]["error_type"] == "SystemExit"
    assert second.status == 200


async def test_a_request_id_with_another_input_is_400(world: World) -> None:
    await world.run("probe", json={"do": "one"}, X_Eventflows_Request_Id="reused")
    answer = await world.run("probe", json={"do": "two"}, X_Eventflows_Request_Id="reused")
    assert answer.status == 400
    assert "request id" in answer.json["error"]["message"]


async def test_a_result_above_1_mib_is_not_remembered(world: World) -> None:
    order = {"do": "letters", "count": 1_100_000}
    before = _runs(world)
    await world.run("probe", json=order, X_Eventflows_Request_Id="large")
    await world.run("probe", json=order, X_Eventflows_Request_Id="large")
    assert _runs(world) - before == 2


def _repeats(world: World, how: str) -> float:
    return world.collector.get_sample_value("eventflows_runner_repeats_total", {"how": how}) or 0.0


def _runs(world: World) -> float:
    name = "eventflows_runner_runs_total"
    return world.collector.get_sample_value(name, {"outcome": "succeeded"}) or 0.0
