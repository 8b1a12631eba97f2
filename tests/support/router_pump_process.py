"""A pump as a process of its own, to be killed: its flow comes as JSON on standard input."""

import asyncio
import json
import random
import sys

from router.adapters.algorithm_target import runner_pool
from router.adapters.memory_dead_letters import MemoryDeadLetters
from router.adapters.system_clock import SystemClock
from router.application.budget import WorkerBudget
from router.application.pump import Pump
from router.domain.kafka_connection import KafkaConnection

from tests.support.router_flows import SUBSCRIBER, KnownHistory
from tests.support.router_kafka_pumps import QUICK_LIMITS
from tests.support.router_runner import algorithm_target
from tests.support.router_sources import kafka_source, spec_of


async def main() -> None:
    """Deliver until somebody ends the process."""
    flow = json.load(sys.stdin)
    spec = spec_of(SUBSCRIBER, topic=flow["topic"], group_id=flow["group_id"])
    connection = KafkaConnection(
        connection_id="c-1", bootstrap_servers=(flow["bootstrap_servers"],)
    )
    clock = SystemClock()
    async with runner_pool(flow["runner_url"]) as pool:
        await Pump(
            spec,
            source=kafka_source(spec, connection),
            target=algorithm_target(spec, pool),
            dead_letters=MemoryDeadLetters(),
            clock=clock,
            random=random.Random(),
            limits=QUICK_LIMITS,
            history=KnownHistory(),
            fence=lambda: True,
            budget=WorkerBudget(),
        ).run()


if __name__ == "__main__":
    asyncio.run(main())
