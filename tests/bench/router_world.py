"""What the router's benchmarks run on: a cluster whose runner is the cheapest endpoint to be had.

The router's worker has a core of its own, everything else shares the other one. Our own Kafka plays
the customer's too.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from devstack import Kafka, Process
from devstack.cluster import Cluster
from devstack.rest import Rest

from examples.demo import steps
from tests.bench.cores import MEASURED, OTHERS
from tests.bench.endpoint import Answering, running_endpoint

OWNER, NAME = "acme", "instant"
ALGORITHM = f"{OWNER}/{NAME}"
KEYS = 1_000
RUN_TIMEOUT_S = 300.0
LINGER_MS = 5
ACKNOWLEDGE_TIMEOUT_S = 120.0
UNACKNOWLEDGED_MAX = 20_000


@dataclass(slots=True, kw_only=True)
class RouterWorld:
    """A cluster with one published algorithm and a connection to our own Kafka."""

    cluster: Cluster
    endpoint: Answering
    admin: Rest
    owner: Rest
    connection: str
    version: str
    _numbers: Any = field(default_factory=count)

    @property
    def worker(self) -> Process:
        """The router's (first) worker."""
        return self.cluster.routers[0].process

    async def topic(self, partitions: int, *, config: dict[str, str] | None = None) -> str:
        """A new topic."""
        name = f"bench-{next(self._numbers)}"
        await self.cluster.kafka.create_topic(name, partitions=partitions, config=config)
        return name

    async def subscribe(self, topic: str, *, wait: bool = True, **settings: Any) -> str:
        """A flow from a topic to the algorithm; returns its id when it runs."""
        return await self._flow(topic, "subscriber", wait, settings)

    async def publish_to(self, topic: str, **settings: Any) -> str:
        """A flow from the algorithm's completions to a topic; returns its id when it runs."""
        return await self._flow(topic, "publisher", True, settings)

    async def disable(self, flow: str) -> None:
        """Let it rest."""
        await self.owner.put(f"/v1/algorithms/{ALGORITHM}/event-flows/{flow}", {"enabled": False})

    async def settled(self, flow: str) -> int:
        """How many records the flow has settled since it started on its worker."""
        state = await self.owner.get(f"/v1/algorithms/{ALGORITHM}/event-flows/{flow}")
        return int((state["live"] or {}).get("settled_total", 0))

    async def _flow(self, topic: str, api_type: str, wait: bool, settings: dict[str, Any]) -> str:
        await steps.grant(
            self.admin, connection=self.connection, topic=topic, algorithms={ALGORITHM: api_type}
        )
        flow = await steps.enable(
            self.owner,
            ALGORITHM,
            topic=topic,
            api_type=api_type,
            version=self.version,
            **settings,
        )
        if wait:
            await steps.wait_for_flows(self.owner, ALGORITHM, steps.is_running, ids=[flow])
        return flow


@asynccontextmanager
async def router_world(
    *, workers: int = 1, pinned: bool = True, delay_ms: float = 0.0, notes: bool = False
) -> AsyncIterator[RouterWorld]:
    """Everything up. `pinned`: the first worker on a core of its own, we and all else on the other.

    `delay_ms` and `notes` are the endpoint's.
    """
    everywhere = os.sched_getaffinity(0)
    if pinned:
        os.sched_setaffinity(0, OTHERS)
    try:
        async with running_endpoint(delay_ms=delay_ms, notes=notes) as endpoint:
            async with Cluster(
                customer=False,
                routers=workers,
                extra={"router": {"runner_url": endpoint.url}},
                cpus={"router-0": MEASURED} if pinned else {},
            ) as cluster:
                async with Rest(cluster.rest_url, await cluster.first_admin()) as admin:
                    _, key = await steps.make_account(admin, OWNER)
                    async with Rest(cluster.rest_url, key) as owner:
                        yield RouterWorld(
                            cluster=cluster,
                            endpoint=endpoint,
                            admin=admin,
                            owner=owner,
                            connection=await _connect(admin, cluster.kafka),
                            version=await steps.publish_algorithm(
                                owner, owner=OWNER, name=NAME, source={"endpoint_url": endpoint.url}
                            ),
                        )
    finally:
        os.sched_setaffinity(0, everywhere)


async def _connect(admin: Rest, kafka: Kafka) -> str:
    answer = await admin.post(
        "/v1/admin/broker-connections",
        {
            "name": "bench",
            "broker_url": kafka.bootstrap_servers,
            "connection_type": "kafka_unauthenticated_plaintext",
        },
    )
    return str(answer["id"])


async def make_topics(kafka: Kafka, names: Iterable[str]) -> None:
    """Many topics of one partition, by one request."""
    admin = AIOKafkaAdminClient(**kafka.client_settings())
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1) for name in names])
    finally:
        await admin.close()


def value(number: int, size_bytes: int) -> bytes:
    """JSON of exactly so many bytes, the number first."""
    text = f'{{"n":{number},"filling":"'
    return f'{text}{"x" * (size_bytes - len(text) - 2)}"}}'.encode()


async def fill(kafka: Kafka, topic: str, records: int, *, size_bytes: int, keys: int) -> None:
    """Numbered records, the keys in turn; returns when all are acknowledged."""
    producer = AIOKafkaProducer(
        **kafka.client_settings(),
        acks="all",
        linger_ms=LINGER_MS,
        max_batch_size=256 * 1024,
        max_request_size=32 * 1024 * 1024,
    )
    await producer.start()
    try:
        async with asyncio.timeout(ACKNOWLEDGE_TIMEOUT_S):
            sent = []
            for number in range(records):
                key = b"key-%d" % (number % keys)
                sent.append(await producer.send(topic, key=key, value=value(number, size_bytes)))
                if len(sent) == UNACKNOWLEDGED_MAX:
                    await asyncio.gather(*sent)
                    sent.clear()
            await asyncio.gather(*sent)
    finally:
        await producer.stop()
