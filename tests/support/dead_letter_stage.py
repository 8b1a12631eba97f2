"""Letters in memory with their index and a target: what the tests of tasks stand on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from catalog.events import DeadLetterSelection
from catalog.records import DeadLetterTask, DeadLetterTaskKind
from kernel.errors import EventflowsError, Unavailable
from router.adapters.memory_letter_index import MemoryLetterIndex
from router.adapters.memory_letter_topic import MemoryLetterFeed, MemoryLetterTopic
from router.adapters.memory_target import MemoryTarget
from router.adapters.system_clock import SystemClock
from router.application.budget import WorkerBudget
from router.application.dead_letter_reader import DeadLetterReader
from router.application.dead_letter_task import TaskRun
from router.application.letter_bytes import LetterBytes
from router.application.redelivery import Redelivery
from router.application.run_durations import RunDurations
from router.application.served import Served
from router.application.shards import SHARDS
from router.application.task_figures import TaskFigures
from router.application.task_tools import TaskTools
from router.domain.dead_letter import DeadLetter
from router.domain.dead_letter_record import LetterId, LetterState
from router.domain.delivery import Delivery
from router.domain.flow_spec import FlowSpec
from router.ports import Clock

from tests.support.letters import START, letter_headers
from tests.support.router_flows import SUBSCRIBER

START_MS = int(START.timestamp() * 1_000)


class Stage:
    """A topic with its index and reader, a target, and the registry's ear."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.topic = MemoryLetterTopic()
        self.index = MemoryLetterIndex()
        self.target = MemoryTarget()
        self.ready: FlowSpec | str | None = SUBSCRIBER
        self.own_topic = ""
        self.own = MemoryLetterTopic()
        self.letters = self.topic
        """Where letters are written to."""
        self.opened: list[FlowSpec] = []
        self.closes = 0
        """Redeliveries that gave back what they held."""
        self.ends: list[tuple[str, int, int, str]] = []
        self.fails_to_finish = 0
        self.write_failures: list[EventflowsError] = []
        self.budget = WorkerBudget()
        self.figures = TaskFigures()
        self.held = LetterBytes()
        self.durations = RunDurations()
        self.served = Served()
        self.reader = DeadLetterReader(
            feed=MemoryLetterFeed(self.topic),
            index=self.index,
            queries=self.index,
            owned=lambda: frozenset(range(SHARDS)),
            clock=SystemClock(),
            random=Random(1),
            retention_s=1e10,
        )

    def letter(self, original: Delivery, *, partition: int = 0, **letter: Any) -> LetterId:
        headers = letter_headers(original, **letter)
        return self.topic.append(
            partition, headers, key=original.key, value=original.value, at_ms=START_MS
        )

    @property
    def tools(self) -> TaskTools:
        return TaskTools(
            index=self.index,
            fold=self.index,
            topic_of=lambda _: self.topic,
            marks=self.topic,
            ends=self,
            ready=lambda _: self.ready,
            own_topic=lambda _: self.own_topic,
            open_own=lambda _: (self.own_topic, self.own),
            open_redelivery=self.open_redelivery,
            figures=self.figures,
            held=self.held,
            clock=self.clock,
            random=Random(1),
        )

    def run_of(self, task: DeadLetterTask) -> TaskRun:
        return TaskRun(task, self.tools)

    async def open_redelivery(self, spec: FlowSpec) -> Redelivery:
        self.opened.append(spec)
        return Redelivery(
            spec,
            target=self.target,
            dead_letters=self,
            clock=self.clock,
            random=Random(1),
            budget=self.budget,
            figures=self.figures,
            durations=self.durations,
            served=self.served,
        )

    async def finish(self, task_id: str, *, succeeded: int, failed: int, problem: str) -> None:
        if self.fails_to_finish:
            self.fails_to_finish -= 1
            raise Unavailable("no registry")
        self.ends.append((task_id, succeeded, failed, problem))

    async def write(self, letter: DeadLetter) -> None:
        """Port `DeadLetters`."""
        if self.write_failures:
            raise self.write_failures.pop()
        at_ms = int(datetime.now(UTC).timestamp() * 1_000)
        self.letters.append(
            1, letter.headers, key=letter.delivery.key, value=letter.delivery.value, at_ms=at_ms
        )

    async def close(self) -> None:
        self.closes += 1

    def state(self, letter_id: LetterId) -> LetterState:
        return self.index.letters[letter_id].state


def task_of(task_id: str = "task-1", **fields: Any) -> DeadLetterTask:
    given: dict[str, Any] = {
        "dead_letter_task_id": task_id,
        "kind": DeadLetterTaskKind.REDRIVE,
        "flow_id": "flow-1",
        "selection": DeadLetterSelection(),
        "rate_per_s": 1_000.0,
        "requested_time": START + timedelta(hours=1),
        "requested_position": 1,
        "position": 1,
        "stream_version": 1,
    }
    return DeadLetterTask(**(given | fields))


@asynccontextmanager
async def started(work: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
