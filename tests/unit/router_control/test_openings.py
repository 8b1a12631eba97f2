"""No storm of connections, and a cluster that does not answer delays its own flows alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from router.application.openings import AT_ONCE_EACH_MAX, AT_ONCE_MAX, Openings

from tests.support.manual_clock import let_others_run, until


@dataclass(slots=True)
class Opener:
    """Opens sources that take as long as the test says."""

    openings: Openings = field(default_factory=Openings)
    open_now: dict[str, int] = field(default_factory=dict)
    answers: dict[str, asyncio.Event] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def open(self, *connections: str) -> None:
        for name in connections:
            self.answers.setdefault(name, asyncio.Event())
            self.tasks.append(asyncio.create_task(self._open(name)))

    async def _open(self, name: str) -> None:
        async with self.openings.turn(name):
            self.open_now[name] = self.open_now.get(name, 0) + 1
            try:
                await self.answers[name].wait()
            finally:
                self.open_now[name] -= 1
        self.opened.append(name)

    @property
    def total(self) -> int:
        return sum(self.open_now.values())

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)


async def test_sources_of_one_cluster_take_turns() -> None:
    opener = Opener()
    opener.open(*["a"] * 200)
    await let_others_run()
    assert opener.total == AT_ONCE_EACH_MAX
    opener.answers["a"].set()
    await until(lambda: len(opener.opened) == 200)
    assert opener.openings.connections == 0


async def test_a_worker_opens_only_so_many_whatever_their_clusters() -> None:
    opener = Opener()
    opener.open(*[f"cluster {n}" for n in range(200)])
    await let_others_run()
    assert opener.total == AT_ONCE_MAX
    await opener.end()
    assert opener.openings.connections == 0


async def test_clusters_that_do_not_answer_keep_nobody_else_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.application.openings.SLOW_S", 0.01)
    opener = Opener()
    dead = [f"dead {n}" for n in range(2 * AT_ONCE_MAX)]
    opener.open(*dead * 3)
    await let_others_run()
    opener.answers["well"] = asyncio.Event()
    opener.answers["well"].set()
    opener.open(*["well"] * 20)
    await until(lambda: opener.opened == ["well"] * 20)
    assert all(opener.open_now[name] == 3 for name in dead)
    await opener.end()


async def test_whoever_gives_up_waiting_leaves_no_trace() -> None:
    opener = Opener()
    opener.open(*["a"] * (AT_ONCE_EACH_MAX + 5))
    await let_others_run()
    for task in opener.tasks[AT_ONCE_EACH_MAX:]:
        task.cancel()
    await let_others_run()
    opener.answers["a"].set()
    await until(lambda: len(opener.opened) == AT_ONCE_EACH_MAX)
    assert opener.openings.connections == 0
