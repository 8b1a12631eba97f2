"""Every followed algorithm gets its topic, whatever becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from catalog.events import FlowEnabled
from kernel.errors import Unavailable
from runner.application import topic_upkeep
from runner.application.topic_upkeep import keep_topics
from runner.domain.completion import Completion

from tests.support.runner_catalog import FedCatalog

WAIT_S = 5.0
URL = "https://example.org/x"


class ScriptedTopics:
    """Port `Completions`; the topics of `failing` cannot be made."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failing: set[str] = set()
        self._changed = asyncio.Condition()

    async def write(self, completion: Completion) -> None:
        raise AssertionError("nothing is written here")

    async def prepare(self, algorithm_id: str) -> None:
        async with self._changed:
            self.asked.append(algorithm_id)
            self._changed.notify_all()
        if algorithm_id in self.failing:
            raise Unavailable(f"no topic for {algorithm_id}")

    async def until_asked(self, algorithm_id: str, *, times: int = 1) -> None:
        async with asyncio.timeout(WAIT_S), self._changed:
            await self._changed.wait_for(lambda: self.asked.count(algorithm_id) >= times)


class Changes:
    """The catalog's news, told by the test."""

    def __init__(self, configuration: FedCatalog) -> None:
        self._configuration = configuration
        self._told: asyncio.Queue[int] = asyncio.Queue()

    def tell(self) -> None:
        self._told.put_nowait(self._configuration.catalog.position)

    async def positions(self) -> AsyncIterator[int]:
        while True:
            yield await self._told.get()


@asynccontextmanager
async def upkeep(configuration: FedCatalog, topics: ScriptedTopics) -> AsyncIterator[Changes]:
    """It runs inside; what it raises fails the test."""
    changes = Changes(configuration)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(keep_topics(configuration, changes.positions(), topics))
        yield changes
        running.cancel()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_upkeep, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(topic_upkeep, "RETRY_LONGEST_S", 0.002)


def followed(configuration: FedCatalog, name: str) -> str:
    algorithm_id = configuration.add_algorithm(name, URL)
    configuration.follow(algorithm_id)
    return algorithm_id


async def test_a_topic_that_cannot_be_made_holds_up_no_other() -> None:
    configuration, topics = FedCatalog(), ScriptedTopics()
    first, bad, last = (followed(configuration, name) for name in ("first", "bad", "last"))
    topics.failing = {bad}
    async with upkeep(configuration, topics) as changes:
        changes.tell()
        for algorithm_id in (first, bad, last):
            await topics.until_asked(algorithm_id)


async def test_a_failure_is_tried_again_and_what_was_made_is_left_alone() -> None:
    configuration, topics = FedCatalog(), ScriptedTopics()
    good, bad = followed(configuration, "good"), followed(configuration, "bad")
    topics.failing = {bad}
    async with upkeep(configuration, topics) as changes:
        changes.tell()
        await topics.until_asked(bad, times=3)
        new = followed(configuration, "new")
        await topics.until_asked(new)
        topics.failing = set()
        await topics.until_asked(bad, times=topics.asked.count(bad) + 1)
        later = followed(configuration, "later")
        changes.tell()
        await topics.until_asked(later)
    assert [topics.asked.count(one) for one in (good, new, later)] == [1, 1, 1]


async def test_a_change_that_follows_nobody_new_asks_for_nothing() -> None:
    configuration, topics = FedCatalog(), ScriptedTopics()
    known = followed(configuration, "known")
    async with upkeep(configuration, topics) as changes:
        changes.tell()
        await topics.until_asked(known)
        configuration.add_algorithm("alone", URL)
        changes.tell()
        new = followed(configuration, "new")
        changes.tell()
        await topics.until_asked(new)
    assert topics.asked == [known, new]


async def test_an_algorithm_that_nobody_follows_any_more_is_given_up() -> None:
    configuration, topics = FedCatalog(), ScriptedTopics()
    bad = configuration.add_algorithm("bad", URL)
    flow_id = configuration.follow(bad)
    topics.failing = {bad}
    async with upkeep(configuration, topics) as changes:
        changes.tell()
        await topics.until_asked(bad, times=2)
        configuration.disable(flow_id)
        asked = topics.asked.count(bad)
        new = followed(configuration, "new")
        changes.tell()
        await topics.until_asked(new)
        topics.failing = set()
        configuration.record(flow_id, FlowEnabled(flow_id=flow_id))
        changes.tell()
        await topics.until_asked(bad, times=asked + 1)
    assert topics.asked == [bad] * asked + [new, bad]
