"""`python -m tests.bench.bare_loop SERVERS TOPIC URL RECORDS`: the shortest way, Kafka to HTTP.

The reference of the router's benchmark: batches from aiokafka, 64 aiohttp calls at a time, one
commit at the end. No order, no lanes, nothing kept safe. Prints records/s and CPU seconds per
1,000 records.
"""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp
import uvloop
from aiokafka import AIOKafkaConsumer

IN_FLIGHT = 64
WARM_UP_SHARE = 0.1


async def main(servers: str, topic: str, url: str, count: int) -> None:
    """Read `count` records, call for each, print the rate after a tenth of warm-up."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=f"bare-{time.time_ns()}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    done, started_s, started_cpu_s = 0, 0.0, 0.0
    slots = asyncio.Semaphore(IN_FLIGHT)
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session, consumer:

        async def call(value: bytes) -> None:
            nonlocal done
            try:
                async with session.post(url, data=value) as answer:
                    answer.raise_for_status()
                    await answer.read()
            finally:
                slots.release()
            done += 1

        async with asyncio.TaskGroup() as calls:
            read = 0
            while read < count:
                for messages in (await consumer.getmany(timeout_ms=1000)).values():
                    for message in messages:
                        await slots.acquire()
                        calls.create_task(call(message.value))
                        read += 1
                        if not started_s and done >= count * WARM_UP_SHARE:
                            started_s, started_cpu_s = time.monotonic(), time.process_time()
        await consumer.commit()
        measured = count * (1 - WARM_UP_SHARE)
        print(
            measured / (time.monotonic() - started_s),
            (time.process_time() - started_cpu_s) / measured * 1000,
        )


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
