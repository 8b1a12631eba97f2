"""Starts the small Faust worker of this folder, and asks Kafka how far its group has come."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from devstack import Kafka
from devstack.process import Process

from tests.support.produce import produce_values

APP = Path(__file__).with_name("hazard_app.py")
POLL_S = 0.05
WAIT_S = 60.0
SHOWN_MAX = 20

OURS = {
    "broker_session_timeout": 10,
    "broker_heartbeat_interval": 2,
    "broker_rebalance_timeout": 10,
}
"""The router's settings (ADR 0001)."""


@dataclass(slots=True, kw_only=True)
class Hazard:
    """One topic of one partition with its group, and the workers that read it."""

    kafka: Kafka
    folder: Path
    admin: AIOKafkaAdminClient
    topic: str
    group: str
    journal: Path
    workers: list[Process] = field(default_factory=list)
    produced: int = 0

    async def produce(self, *values: bytes) -> None:
        """One record each, in order; the value is the word and the offset, which counts from 0."""
        first = self.produced
        self.produced += await produce_values(
            self.kafka,
            self.topic,
            [(None, b"%s %d" % (value, first + n)) for n, value in enumerate(values)],
        )

    def start(self, case: str = "plain", **options: Any) -> Process:
        """A worker process, not waited for."""
        number = len(self.workers)
        given = {
            "case": case,
            "bootstrap": self.kafka.bootstrap_servers,
            "topic": self.topic,
            "group": self.group,
            "journal": str(self.journal),
            "data_dir": str(self.folder / f"data-{number}"),
            "concurrency": 1,
            "slow_s": 3600.0,
            "work_s": 0.0,
            "raises": True,
            "commit_interval_s": 0.2,
            "settings": OURS,
            **options,
        }
        worker = Process.spawn(
            [sys.executable, str(APP), json.dumps(given)],
            name=f"worker-{number}",
            log_path=self.folder / f"worker-{number}.log",
        )
        self.workers.append(worker)
        return worker

    def noted(self, word: str) -> list[int]:
        """The offsets in the journal's lines with this word, in order."""
        if not self.journal.exists():
            return []
        lines = [line.split() for line in self.journal.read_text().splitlines()]
        return [int(offset) for have, offset in lines if have == word]

    @property
    def done(self) -> set[int]:
        """Offsets whose work was finished at least once."""
        return set(self.noted("done"))

    async def committed(self) -> int:
        """The group's committed offset on the partition; 0: none."""
        offsets = await self.admin.list_consumer_group_offsets(self.group)
        found = offsets.get(TopicPartition(self.topic, 0))
        return max(0, found.offset) if found is not None else 0

    async def until(self, holds: Callable[[], bool], *, timeout_s: float = WAIT_S) -> None:
        """Wait for something in the journal, or of a process."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise AssertionError(self._state()) from None

    async def until_committed(self, offset: int, *, timeout_s: float = WAIT_S) -> None:
        """Wait until the group has committed at least this."""
        try:
            async with asyncio.timeout(timeout_s):
                while await self.committed() < offset:
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            have = await self.committed()
            raise AssertionError(f"committed {have}; {self._state()}") from None

    def _state(self) -> str:
        newest = sorted(self.done)[-SHOWN_MAX:]
        tails = [worker.log_tail()[-1500:] for worker in self.workers]
        return f"{len(self.done)} done, the newest {newest}; logs: {tails}"


@pytest_asyncio.fixture
async def hazard(kafka: Kafka, tmp_path: Path) -> AsyncIterator[Hazard]:
    """An empty topic; all workers that the test starts are killed after it."""
    topic = f"hazard-{uuid4()}"
    await kafka.create_topic(topic)
    admin = AIOKafkaAdminClient(**kafka.client_settings())
    await admin.start()
    hazard = Hazard(
        kafka=kafka,
        folder=tmp_path,
        admin=admin,
        topic=topic,
        group=f"group-{topic}",
        journal=tmp_path / "journal",
    )
    try:
        yield hazard
    finally:
        for worker in hazard.workers:
            worker.kill()
        await admin.close()
