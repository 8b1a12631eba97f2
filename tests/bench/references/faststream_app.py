"""`python -m tests.bench.references.faststream_app SERVERS TOPIC GROUP URL`: FastStream's way.

The quickest way that it offers: 64 workers, which it allows only when a record is acknowledged
before it is worked on, so it keeps no order and loses what it was doing when it is killed.
"""

from __future__ import annotations

import sys

import aiohttp
import uvloop
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

IN_FLIGHT = 64


async def main(servers: str, topic: str, group: str, url: str) -> None:
    """Until somebody ends the process."""
    broker = KafkaBroker(servers, logger=None)
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        @broker.subscriber(
            topic,
            group_id=group,
            auto_offset_reset="earliest",
            max_workers=IN_FLIGHT,
            ack_policy=AckPolicy.ACK_FIRST,
            decoder=_as_it_is,
        )
        async def call(body: bytes) -> None:
            async with session.post(url, data=body) as answer:
                answer.raise_for_status()
                await answer.read()

        await FastStream(broker, logger=None).run()


async def _as_it_is(message: KafkaMessage) -> bytes:
    """It would parse JSON otherwise."""
    return message.body


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:5]))
