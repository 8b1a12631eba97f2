"""A member of a group as a process of its own; says on standard output what it receives, and when.

`python -m tests.bench.membership_member <servers> <topic> <group> <instance id or nothing>`
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import sys
import time
from collections.abc import Mapping

import uvloop
from aiokafka import AIOKafkaConsumer
from router.adapters import kafka_source
from router.adapters.memory_positions import MemoryPositions
from router.adapters.system_clock import SystemClock
from router.domain.kafka_connection import KafkaConnection
from router.domain.low_water import Mark

from tests.support.router_flows import SUBSCRIBER
from tests.support.router_sources import spec_of


class Member:
    """Receives, settles each batch, and notes nothing."""

    def __init__(self, source: kafka_source.KafkaSource) -> None:
        self._source = source

    def on_assigned(
        self, marks: Mapping[int, Mark], *, epoch: int, unreadable: int = 0, expired: int = 0
    ) -> None:
        pass

    async def on_revoked(self) -> None:
        pass

    async def run(self) -> None:
        """Until cancelled."""
        await self._source.open(self)
        while True:
            for delivery in await self._source.receive(wait_s=1.0, records_max=100):
                print(delivery.partition, time.monotonic(), flush=True)
                mark = Mark(position=delivery.offset + 1)
                with contextlib.suppress(Exception):
                    await self._source.settle({delivery.partition: mark}, epoch=delivery.epoch)


async def main(servers: str, topic: str, group: str, instance_id: str = "") -> None:
    """Until SIGTERM; then leave as a flow does."""
    if instance_id:
        consumer = functools.partial(AIOKafkaConsumer, group_instance_id=instance_id)
        vars(kafka_source)["AIOKafkaConsumer"] = consumer  # no option of ours: ADR 0012
    source = kafka_source.KafkaSource(
        spec_of(SUBSCRIBER, topic=topic, group_id=group),
        connection=KafkaConnection(connection_id="c", bootstrap_servers=(servers,)),
        clock=SystemClock(),
        positions=MemoryPositions(),
    )
    running = asyncio.ensure_future(Member(source).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    await asyncio.wait({running})
    await source.close()
    if not running.cancelled():
        running.result()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
