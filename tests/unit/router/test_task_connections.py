"""By which connection a dead letter task reads the internal topic."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from router.adapters.memory_letter_topic import MemoryLetterTopic
from router.application.dead_letter_task import TaskRun
from router.bootstrap_dead_letters import TASK_CONNECTIONS, connection_number

from tests.support.dead_letter_stage import Stage, started, task_of
from tests.support.manual_clock import until
from tests.support.router_flows import delivery


class SilentTopic(MemoryLetterTopic):
    """A connection on which nothing comes."""

    waiters = 0

    async def spans(self) -> Mapping[int, tuple[int, int]]:
        self.waiters += 1
        return await asyncio.Future()


def test_tasks_are_spread_over_all_connections() -> None:
    used = Counter(connection_number(str(UUID(int=number))) for number in range(64))
    assert set(used) == set(range(TASK_CONNECTIONS))
    assert max(used.values()) < 64 / 2


async def test_tasks_of_another_connection_do_not_wait_for_a_silent_one() -> None:
    """There was one for all."""
    stage, silent = Stage(), SilentTopic()
    topics = {"task-1": silent, "task-2": stage.topic}
    tools = replace(stage.tools, topic_of=topics.__getitem__)
    stage.letter(delivery(1))
    waits, goes_on = (TaskRun(task_of(task_id), tools) for task_id in topics)
    async with started(stage.reader.run()), started(waits.run()):
        await until(lambda: silent.waiters == 1)
        assert await goes_on.run()
    assert stage.ends == [("task-2", 1, 0, "")]
