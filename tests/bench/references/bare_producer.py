"""`python -m tests.bench.references.bare_producer SERVERS TOPIC RECORDS IN_FLIGHT`: writing alone.

An idempotent aiokafka producer as the router has it, `acks=all`, which sends made-up completions
with so many unacknowledged at a time. Prints records/s and CPU ms per 1,000 records.
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop
from aiokafka import AIOKafkaProducer

from tests.bench.router_world import KEYS, value

RECORD_BYTES = 200
BATCH_BYTES_MAX = 64 * 1024
HEADERS = [
    ("content-type", b"application/json"),
    ("ef-request-id", b"req-00000000-0000-0000-0000-000000000000"),
    ("ef-hops", b"1"),
]


async def main(servers: str, topic: str, records: int, in_flight: int) -> None:
    """Send all of them."""
    producer = AIOKafkaProducer(
        bootstrap_servers=servers,
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES_MAX,
    )
    slots = asyncio.Semaphore(in_flight)
    body = value(0, RECORD_BYTES)
    async with producer:
        started_s, started_cpu_s = time.monotonic(), time.process_time()
        for number in range(records):
            await slots.acquire()
            sent = await producer.send(
                topic, key=b"key-%d" % (number % KEYS), value=body, headers=HEADERS
            )
            sent.add_done_callback(lambda _: slots.release())
        await producer.flush()
        took_s, used_s = time.monotonic() - started_s, time.process_time() - started_cpu_s
    print(records / took_s, used_s / records * 1e6)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
