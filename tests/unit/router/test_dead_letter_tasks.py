"""Which worker carries out which task, and what everybody answers about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from catalog.records import DeadLetterTask, DeadLetterTaskState
from kernel.errors import NotFound, Unavailable
from router.adapters.memory_letter_topic import MemoryLetterTopic
from router.application import dead_letter_tasks
from router.application.dead_letter_tasks import (
    BEHIND_ITS_FLOWS,
    NO_ROOM,
    NOT_OURS,
    TASKS_AT_ONCE_MAX,
    DeadLetterTasks,
    readiness,
)
from router.application.plans import BlockedFlow
from router.application.shards import shard_of
from router.control_ports import WorkerEntry
from router.dead_letter_ports import LetterTopic
from router.domain.dead_letter_task import TaskProgress
from router.domain.flow_spec import FlowSpec

from tests.support.dead_letter_stage import Stage, started, task_of
from tests.support.letters import START, letter_headers
from tests.support.manual_clock import WAIT_MAX_S, let_others_run, until
from tests.support.router_flows import SUBSCRIBER, delivery


class Registry:
    """Catalog, its feed, other workers and what they answer."""

    def __init__(self) -> None:
        self.tasks: dict[str, DeadLetterTask] = {}
        self.owned: set[str] = {"flow-1"}
        self.entries: list[WorkerEntry] = []
        self.peer: TaskProgress | None = None
        self.catalog: Any = SimpleNamespace(
            dead_letter_task=self.tasks.get, open_dead_letter_tasks=self.still_open
        )
        self._changed = asyncio.Event()

    def still_open(self) -> list[DeadLetterTask]:
        return [task for task in self.tasks.values() if task.ended_time is None]

    def ask(self, *tasks: DeadLetterTask) -> None:
        self.tasks.update({task.dead_letter_task_id: task for task in tasks})
        self._changed.set()

    def end(self, task_id: str, state: DeadLetterTaskState, **fields: Any) -> None:
        ended = replace(self.tasks[task_id], state=state, ended_time=START, **fields)
        self.ask(ended)

    async def changes(self) -> AsyncGenerator[int, None]:
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield 1

    def others(self) -> tuple[WorkerEntry, ...]:
        return tuple(self.entries)

    async def dead_letter_task(self, worker: WorkerEntry, task_id: str) -> TaskProgress:
        if self.peer is None:
            raise Unavailable("silent")
        return self.peer

    def tasks_of(self, stage: Stage, **tools: Any) -> DeadLetterTasks:
        return DeadLetterTasks(
            worker_id="w-1",
            feed=self,
            is_complete=lambda: True,
            owns=lambda flow_id: flow_id in self.owned,
            workers=self,
            peers=self,
            tools=replace(stage.tools, **tools),
        )


async def test_a_task_of_an_owned_flow_is_carried_out_once() -> None:
    registry, stage = Registry(), Stage()
    stage.letter(delivery(1))
    tasks = registry.tasks_of(stage)
    async with started(stage.reader.run()), started(tasks.run()):
        registry.ask(task_of())
        await until(lambda: stage.ends == [("task-1", 1, 0, "")])
        progress = await tasks.progress("task-1")
        assert (progress.state, progress.worker) == ("finished", "w-1")
        registry.end("task-1", DeadLetterTaskState.FINISHED, succeeded=1)
        await until(lambda: tasks.local("task-1") is None)
    assert len(stage.target.runs) == 1
    assert await tasks.progress("task-1") == TaskProgress(
        task_id="task-1", state="finished", succeeded=1, left=0
    )


async def test_cancelling_stops_it_and_lets_the_next_one_go() -> None:
    registry, stage = Registry(), Stage()
    stage.letter(delivery(1))
    stage.target.hold(b"value-1")
    tasks = registry.tasks_of(stage)
    async with started(stage.reader.run()), started(tasks.run()):
        registry.ask(task_of("task-1"), task_of("task-2"))
        await stage.target.until_runs(1)
        behind = await tasks.progress("task-2")
        assert (behind.state, behind.reason) == ("waiting", BEHIND_ITS_FLOWS)
        registry.end("task-1", DeadLetterTaskState.CANCELLED)
        await stage.target.until_runs(2)
        assert tasks.local("task-1") is None
        assert (await tasks.progress("task-1")).state == "cancelled"
        await stage.target.let_go(b"value-1")
        await until(lambda: stage.ends == [("task-2", 1, 0, "")])


class LingeringTopic(MemoryLetterTopic):
    """One more connection to a topic; its goodbye takes until a test lets it."""

    def __init__(self, topic: MemoryLetterTopic) -> None:
        super().__init__()
        self.log, self.first = topic.log, topic.first
        self.may_close = asyncio.Event()
        self.closed = False

    async def close(self) -> None:
        await self.may_close.wait()
        self.closed = True


@pytest.mark.parametrize(
    "end",
    [DeadLetterTaskState.FINISHED, DeadLetterTaskState.CANCELLED],
    ids=["finished", "cancelled"],
)
async def test_a_redrive_of_an_own_topic_gives_back_all_that_it_held(
    end: DeadLetterTaskState,
) -> None:
    """Although the catalog says again and again meanwhile that the task has ended."""
    registry, stage = Registry(), Stage()
    stage.own_topic = "own"
    original = delivery(1)
    stage.own.append(0, letter_headers(original), key=original.key, value=original.value)
    stage.target.hold(b"value-1")
    topics: list[LingeringTopic] = []

    def open_own(_: str) -> tuple[str, LetterTopic]:
        topics.append(LingeringTopic(stage.own))
        return stage.own_topic, topics[-1]

    tasks = registry.tasks_of(stage, open_own=open_own)
    async with started(stage.reader.run()), started(tasks.run()):
        registry.ask(task_of(own_topic=True))
        await stage.target.until_runs(1)
        if end is DeadLetterTaskState.FINISHED:
            await stage.target.let_go(b"value-1")
            await until(lambda: stage.ends == [("task-1", 1, 0, "")])
        for _ in range(3):
            registry.end("task-1", end)
            await let_others_run()
        assert tasks.local("task-1") is not None
        for topic in topics:
            topic.may_close.set()
        await until(lambda: tasks.local("task-1") is None)
    assert [topic.closed for topic in topics] == [True, True]
    assert stage.closes == 1


async def test_a_catalog_that_cannot_be_followed_any_more_ends_the_part() -> None:
    registry = Registry()

    async def broken() -> AsyncGenerator[int, None]:
        yield 1
        raise OSError("broken")

    registry.changes = broken  # type: ignore[method-assign]
    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(WAIT_MAX_S):
            await registry.tasks_of(Stage()).run()
    assert raised.group_contains(OSError, match="broken")


async def test_a_task_stops_with_the_shard_and_goes_on_where_it_went() -> None:
    registry, stage = Registry(), Stage()
    for number in range(2):
        stage.letter(delivery(number))
    stage.target.hold(b"value-0")
    tasks = registry.tasks_of(stage)
    async with started(stage.reader.run()), started(tasks.run()):
        registry.ask(task_of())
        await stage.target.until_runs(1)
        registry.owned.clear()
        registry.ask()
        await let_others_run()
        await stage.target.let_go(b"value-0")
        await until(lambda: tasks.local("task-1") is None)
        assert stage.ends == []
        registry.owned.add("flow-1")
        await until(lambda: stage.ends == [("task-1", 2, 0, "")])
    assert stage.target.values == [b"value-0", b"value-1"]


async def test_a_worker_that_stops_lets_its_tasks_end_what_they_are_at_and_begins_none() -> None:
    registry, stage = Registry(), Stage()
    for number in range(2):
        stage.letter(delivery(number))
    stage.target.hold(b"value-0")
    tasks = registry.tasks_of(stage)
    async with started(stage.reader.run()), started(tasks.run()):
        registry.ask(task_of())
        await stage.target.until_runs(1)
        assert tasks.totals().tasks == {"working": 1}
        async with started(tasks.stop()) as stopping:
            await let_others_run()
            assert not stopping.done()
            await stage.target.let_go(b"value-0")
            await until(stopping.done)
        registry.ask(task_of("task-2"))
        await let_others_run()
        assert (tasks.local("task-1"), tasks.local("task-2")) == (None, None)
        await tasks.stop()
    assert (stage.target.values, stage.ends) == ([b"value-0"], [])
    async with started(stage.reader.run()):
        await stage.run_of(task_of()).run()
    assert (stage.target.values, stage.ends) == (
        [b"value-0", b"value-1"],
        [("task-1", 2, 0, "")],
    )


async def test_a_worker_carries_out_a_bounded_number_at_once_and_says_so_of_the_next() -> None:
    registry, stage = Registry(), Stage()
    flows = [f"flow-{number}" for number in range(TASKS_AT_ONCE_MAX + 3)]
    values = [f"value-{number}".encode() for number in range(len(flows))]
    registry.owned = set(flows)
    stage.target.hold(*values)
    looked_at: list[str] = []

    def ready(flow_id: str) -> FlowSpec:
        looked_at.append(flow_id)
        return SUBSCRIBER

    tasks = registry.tasks_of(stage, ready=ready)
    async with started(stage.reader.run()), started(tasks.run()):
        for number, flow in enumerate(flows):
            stage.letter(delivery(number), spec=replace(SUBSCRIBER, flow_id=flow))
        registry.ask(*(task_of(f"task of {flow}", flow_id=flow) for flow in flows))
        await stage.target.until_runs(TASKS_AT_ONCE_MAX)
        await let_others_run()
        assert len(stage.target.runs) == TASKS_AT_ONCE_MAX
        waits = await tasks.progress(f"task of {flows[-1]}")
        assert (waits.state, waits.worker) == ("waiting", "w-1")
        assert waits.reason == NO_ROOM.format(TASKS_AT_ONCE_MAX)
        looked_at.clear()
        registry.ask()
        await let_others_run()
        assert 0 < len(looked_at) <= 2 * len(flows), "at each once, whoever waits, and by the clock"
        await stage.target.let_go(*values)
        await until(lambda: len(stage.ends) == len(flows))


async def test_redrives_of_flows_that_may_not_run_keep_no_other_one_out() -> None:
    registry, stage = Registry(), Stage()
    paused = [f"paused-{number}" for number in range(TASKS_AT_ONCE_MAX + 1)]
    registry.owned = {*paused, "flow-1"}
    ready = lambda flow_id: SUBSCRIBER if flow_id == "flow-1" else "paused"  # noqa: E731
    tasks = registry.tasks_of(stage, ready=ready)
    for number, flow in enumerate((*paused, "flow-1")):
        stage.letter(delivery(number), spec=replace(SUBSCRIBER, flow_id=flow))
    async with started(stage.reader.run()), started(tasks.run()):
        registry.ask(*(task_of(f"task of {flow}", flow_id=flow) for flow in paused), task_of())
        await until(lambda: stage.ends == [("task-1", 1, 0, "")])
        await until(lambda: (last := tasks.local(f"task of {paused[-1]}")) is not None
                    and last.reason == "paused")  # fmt: skip


def test_a_flow_is_redriven_where_it_is_owned_and_while_it_may_run() -> None:
    owned: set[str] = {"flow-1", "flow-2", "flow-3", "flow-4"}
    flows = {f"flow-{number}": SimpleNamespace(paused=None) for number in (1, 3, 4)}
    flows["flow-2"] = SimpleNamespace(paused="by its owner")
    plans = {"flow-1": SUBSCRIBER, "flow-2": SUBSCRIBER}
    plans["flow-3"] = BlockedFlow(flow_id="flow-3", reason="no grant")  # type: ignore[assignment]
    feed: Any = SimpleNamespace(catalog=SimpleNamespace(flow=flows.get))
    known: Any = SimpleNamespace(plan=plans.get)
    ready = readiness(known, feed, owns=owned.__contains__)
    assert ready("flow-1") is SUBSCRIBER
    told = {flow: str(ready(flow)) for flow in ("flow-2", "flow-3", "flow-4")}
    assert "is paused" in told["flow-2"]
    assert "is blocked: no grant" in told["flow-3"]
    assert "is not enabled" in told["flow-4"]
    owned.clear()
    assert ready("flow-1") == NOT_OURS
    owned.add("flow-9")
    assert ready("flow-9") is None


async def test_the_owner_is_asked_about_a_task_of_another_worker() -> None:
    registry, stage = Registry(), Stage()
    registry.owned.clear()
    registry.ask(task_of())
    tasks = registry.tasks_of(stage)
    nobody = await tasks.progress("task-1")
    assert (nobody.state, nobody.reason) == ("waiting", "no worker has taken it over yet")
    shard = frozenset({shard_of("flow-1")})
    registry.entries = [WorkerEntry(worker_id="w-2", address="x", shards=shard)]
    assert (await tasks.progress("task-1")).reason == "its worker does not answer"
    registry.peer = TaskProgress(task_id="task-1", state="working", worker="w-2")
    assert await tasks.progress("task-1") == registry.peer


async def test_a_task_that_was_asked_for_a_moment_ago_is_waited_for() -> None:
    registry = Registry()
    registry.owned.clear()
    asking = asyncio.create_task(registry.tasks_of(Stage()).progress("task-1"))
    await let_others_run()
    registry.ask(task_of())
    assert (await asking).state == "waiting"


async def test_a_task_that_nobody_knows_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_tasks, "FOLLOW_WAIT_S", 0.01)
    with pytest.raises(NotFound):
        await Registry().tasks_of(Stage()).progress("task-9")
