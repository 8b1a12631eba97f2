"""What a worker does before it leaves: its flows and its redrives end, then the others are told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from router.bootstrap import Router
from router.bootstrap_dead_letters import DeadLetterHalf


async def test_a_worker_that_stops_ends_its_flows_and_redrives_before_it_gives_up_its_shards() -> (
    None
):
    done: list[str] = []

    def step(name: str) -> Any:
        async def stop() -> None:
            done.append(name)

        return stop

    tasks: Any = SimpleNamespace(stop=step("redrives"))
    router: Any = SimpleNamespace(
        supervisor=SimpleNamespace(stop=step("flows")),
        dead_letters=DeadLetterHalf(tasks=tasks),
        ownership=SimpleNamespace(release=lambda: done.append("shards")),
        directory=SimpleNamespace(leave=step("directory")),
    )
    await Router.drain(router)
    assert sorted(done[:2]) == ["flows", "redrives"]
    assert done[2:] == ["shards", "directory"]
    await DeadLetterHalf().stop()
