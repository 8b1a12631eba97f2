"""Processes come and go: within the budget, after idling, and never longer than the runner."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from runner.adapters.child_process import ChildLimits, ChildProcess, Tail
from runner.adapters.memory_completions import MemoryCompletions

from tests.integration.runner.algorithms import LEGACY, repository
from tests.integration.runner.world import World, runner_world

WAIT_S = 15.0
PID = LEGACY.replace("return data", "import os\n    return os.getpid()")


async def test_versions_share_a_budget_and_take_idle_places_from_each_other(
    environments: Path, tmp_path: Path
) -> None:
    async with runner_world(
        tmp_path, MemoryCompletions(), environments=environments, processes_max=1
    ) as world:
        await _publish(world, tmp_path, "one")
        await _publish(world, tmp_path, "two")
        one = (await world.run("one", json={})).json["result"]
        two = (await world.run("two", json={})).json["result"]
        await _ended(one)
        assert (await world.run("two", json={})).json["result"] == two
        assert world.parts.executor.processes == 1


async def test_idle_processes_are_stopped(environments: Path, tmp_path: Path) -> None:
    async with runner_world(
        tmp_path, MemoryCompletions(), environments=environments, process_idle_s=0.01
    ) as world:
        await _publish(world, tmp_path, "idle")
        await _ended((await world.run("idle", json={})).json["result"])
        assert (await world.run("idle", json={})).status == 200


async def test_a_stopped_runner_leaves_no_process_and_no_home(
    environments: Path, tmp_path: Path
) -> None:
    async with runner_world(tmp_path, MemoryCompletions(), environments=environments) as world:
        await _publish(world, tmp_path, "stopped")
        pid = (await world.run("stopped", json={})).json["result"]
    await _ended(pid)
    assert list((tmp_path / "data" / "homes").iterdir()) == []


async def test_a_killed_runner_takes_its_processes_along(world: World, tmp_path: Path) -> None:
    program = dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from runner.adapters.child_process import ChildLimits, ChildProcess, Tail

        async def main():
            child = await ChildProcess.spawn(
                ["/bin/sleep", "600"], cwd=Path("/"), env={}, limits=ChildLimits(),
                output=Tail(10), errors=Tail(10),
            )
            while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\\n":
                await asyncio.sleep(0.01)
            print(child.pid, flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
        """
    )
    runner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert runner.stdout is not None
    async with asyncio.timeout(WAIT_S):
        pid = int(await runner.stdout.readline())
    os.kill(runner.pid, signal.SIGKILL)
    await runner.wait()
    await _ended(pid)


async def test_the_group_of_a_child_that_has_ended_is_not_killed_again(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    """Its number may belong to another group by then."""
    child = await ChildProcess.spawn(
        ["/bin/true"],
        cwd=Path("/"),
        env={},
        limits=ChildLimits(),
        output=Tail(1000),
        errors=Tail(1000),
    )
    async with asyncio.timeout(WAIT_S):
        assert await child.exited == 0
    killed: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda group, _: killed.append(group))
    child.kill()
    await child.stop(grace_s=1.0)
    assert child.pid not in killed


async def test_a_grandchild_in_the_group_dies_with_its_parent(tmp_path: Path, world: World) -> None:
    child = await ChildProcess.spawn(
        ["/bin/sh", "-c", "sleep 600 & echo $! > pid"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        limits=ChildLimits(),
        output=Tail(1000),
        errors=Tail(1000),
    )
    async with asyncio.timeout(WAIT_S):
        await child.exited
    await _ended(int((tmp_path / "pid").read_text()))
    await child.stop()


async def _publish(world: World, folder: Path, name: str) -> None:
    algorithm_id = world.registry.add_algorithm(name, repository(folder / name, name, PID))
    report = await world.build(algorithm_id)
    assert report.succeeded, report.log_tail
    world.registry.publish(algorithm_id, report.commit_sha)


async def _ended(pid: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
            await asyncio.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
