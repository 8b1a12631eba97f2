"""`python -m tests.bench.references.plain_loop SERVERS TOPIC GROUP URL`: the loop one would write.

aiokafka's getmany, one lane for each partition and key, aiohttp with 64 calls at a time, uvloop,
and each second a commit of the low-water mark. What the router is measured against: it keeps the
order of keys and commits nothing that has not ended; it has no retry, no dead letters, no drain.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque

import aiohttp
import uvloop
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

IN_FLIGHT = 64
HELD_MAX = 10_000
COMMIT_INTERVAL_S = 1.0


class Loop:
    """Lanes of what is not done, and a low-water mark for each partition."""

    def __init__(self, consumer: AIOKafkaConsumer, session: aiohttp.ClientSession, url: str):
        self.consumer, self.session, self.url = consumer, session, url
        self.slots = asyncio.Semaphore(IN_FLIGHT)
        self.lanes: dict[tuple[TopicPartition, bytes], deque[ConsumerRecord]] = {}
        self.started: dict[TopicPartition, deque[int]] = {}
        self.finished: dict[TopicPartition, set[int]] = {}
        self.held = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        self.start(self.commit_regularly())
        while True:
            batches = await self.consumer.getmany(timeout_ms=200, max_records=500)
            for partition, records in batches.items():
                started = self.started.setdefault(partition, deque())
                self.finished.setdefault(partition, set())
                for record in records:
                    started.append(record.offset)
                    self.held += 1
                    lane = self.lanes.get((partition, record.key))
                    if lane is None:
                        self.lanes[partition, record.key] = deque([record])
                        self.start(self.work(partition, record.key))
                    else:
                        lane.append(record)
            while self.held > HELD_MAX:
                await asyncio.sleep(0.01)

    def start(self, work) -> None:  # type: ignore[no-untyped-def]
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def work(self, partition: TopicPartition, key: bytes) -> None:
        lane = self.lanes[partition, key]
        while lane:
            record = lane[0]
            async with self.slots:
                async with self.session.post(self.url, data=record.value) as answer:
                    answer.raise_for_status()
                    await answer.read()
            self.finished[partition].add(record.offset)
            self.held -= 1
            lane.popleft()
        del self.lanes[partition, key]

    async def commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_INTERVAL_S)
            marks = {}
            for partition, started in self.started.items():
                finished = self.finished[partition]
                while started and started[0] in finished:
                    offset = started.popleft()
                    finished.discard(offset)
                    marks[partition] = offset + 1
            if marks:
                await self.consumer.commit(marks)


async def main(servers: str, topic: str, group: str, url: str) -> None:
    """Until somebody ends the process."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session, consumer:
        await Loop(consumer, session, url).run()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:5]))
