"""Where the fault suite happens: a whole cluster of real processes, with proxies where it is cut.

producer ─▶ customer's Kafka ═proxy═▶ router ═proxy, tap═▶ runner ─▶ algorithm (endpoint)
results  ◀─ customer's Kafka ◀═proxy═ router ◀─ internal Kafka ◀──┘
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
from devstack import Kafka, NotOurs, Process, TcpProxy, free_ports
from devstack.cluster import Cluster
from devstack.rest import Rest

from examples.demo import steps
from tests.support.chaos_clock import CLOCK_FILE
from tests.support.chaos_tap import RunnerTap, Sent

OWNER = "acme"
PARTITIONS = 4
WORKERS = 3
SESSIONS_MAX = 500
"""More than all flows together have in flight: one strike is that nobody may call, and only one."""
RUNNING_TIMEOUT_S = 90.0
CONTROL_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wires:
    """A topic, the flow from it to an algorithm, and the flow from there to another topic."""

    algorithm: str
    source: str
    results: str
    subscriber: str
    publisher: str


@dataclass(slots=True, kw_only=True)
class World:
    """A running cluster; what tests do to it."""

    cluster: Cluster
    customer: Kafka
    to_customer: TcpProxy
    to_runner: TcpProxy
    tap: RunnerTap
    admin: Rest
    owner: Rest
    connection: str
    endpoint_url: str
    run_log: Path
    clock_file: Path
    _numbers: Any = field(default_factory=count)

    async def wire(self, **settings: Any) -> Wires:
        """A new algorithm with a flow to it and one from it; returns when both run."""
        name = f"chaos{next(self._numbers)}"
        algorithm = f"{OWNER}/{name}"
        version = await steps.publish_algorithm(
            self.owner,
            owner=OWNER,
            name=name,
            source={"endpoint_url": f"{self.endpoint_url}/run/{name}"},
        )
        flows = {}
        for topic, api_type in ((f"{name}-in", "subscriber"), (f"{name}-out", "publisher")):
            await self.customer.create_topic(topic, partitions=PARTITIONS)
            await steps.grant(
                self.admin,
                connection=self.connection,
                topic=topic,
                algorithms={algorithm: api_type},
            )
            given = settings if api_type == "subscriber" else {}
            flows[api_type] = await steps.enable(
                self.owner, algorithm, topic=topic, api_type=api_type, version=version, **given
            )
        await steps.wait_for_flows(
            self.owner, algorithm, steps.is_running, ids=flows.values(), timeout_s=RUNNING_TIMEOUT_S
        )
        return Wires(
            algorithm=algorithm,
            source=f"{name}-in",
            results=f"{name}-out",
            subscriber=flows["subscriber"],
            publisher=flows["publisher"],
        )

    async def unwire(self, wires: Wires) -> None:
        """Let both flows rest."""
        for flow_id in (wires.subscriber, wires.publisher):
            path = f"/v1/algorithms/{wires.algorithm}/event-flows/{flow_id}"
            await self.owner.put(path, {"enabled": False})

    async def completions_topic(self, wires: Wires) -> str:
        """The internal topic that the publisher flow reads."""
        answer = await self.owner.get(f"/v1/algorithms/{wires.algorithm}")
        return f"completions.{answer['id']}"

    async def worker_of(self, flow_id: str, algorithm: str) -> int | None:
        """Index of the worker that runs a flow; None when nobody says so."""
        for flow in await steps.flows_of(self.owner, algorithm):
            live = flow["live"]
            if flow["id"] == flow_id and live is not None:
                names = [router.name for router in self.cluster.routers]
                return names.index(live["worker"]) if live["worker"] in names else None
        return None

    async def set_mode(self, mode: str) -> None:
        """`usual` or `overloaded`: what the algorithm does."""
        timeout = aiohttp.ClientTimeout(total=CONTROL_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.post(f"{self.endpoint_url}/mode/{mode}") as answer:
                answer.raise_for_status()

    async def mend(self) -> None:
        """Undo whatever a strike left that was broken off: everything runs, nothing is cut."""
        for proxy in (self.to_customer, self.to_runner):
            proxy.heal()
        self.clock_file.unlink(missing_ok=True)
        for server in (self.customer, self.cluster.kafka, self.cluster.postgres):
            with suppress(NotOurs):
                if not server.process.running:
                    await server.restart()
        for service in self.cluster.services:
            if service.process.running:
                service.process.resume()
            else:
                await service.start(timeout_s=RUNNING_TIMEOUT_S)
        await self.set_mode("usual")

    def runs(self, wires: Wires) -> list[dict[str, Any]]:
        """Every run that the algorithm has begun, in that order."""
        lines = map(json.loads, self.run_log.read_text().splitlines())
        return [run for run in lines if f"{OWNER}/{run['algorithm']}" == wires.algorithm]

    def sent(self, wires: Wires) -> list[Sent]:
        """What the routers sent to the runner."""
        return [one for one in self.tap.sent if one.flow_id == wires.subscriber]


@asynccontextmanager
async def running_world(*, workers: int = WORKERS) -> AsyncIterator[World]:
    """Everything up; use it from the main thread."""
    tap = RunnerTap()
    async with AsyncExitStack() as stack:
        to_customer = await stack.enter_async_context(TcpProxy())
        to_runner = await stack.enter_async_context(TcpProxy(taps=tap.taps))
        kafka = Kafka(name="customer-kafka", proxy_port=to_customer.port)
        cluster = Cluster(
            routers=workers,
            customer_kafka=kafka,
            router_program="tests.support.chaos_router",
            extra={
                "router": {"runner_url": f"http://{to_runner.address}"},
                "runner": {"sessions_per_account_max": str(SESSIONS_MAX)},
            },
        )
        clock_file = cluster.data_dir / "clock"
        os.environ[CLOCK_FILE] = str(clock_file)
        to_runner.target_port = int(cluster.runner_url.rsplit(":", 1)[1])
        await stack.enter_async_context(cluster)
        to_customer.target_port = kafka.proxied_port
        run_log = cluster.data_dir / "runs.log"
        endpoint_url = await _endpoint(stack, cluster, run_log)
        admin = await stack.enter_async_context(Rest(cluster.rest_url, await cluster.first_admin()))
        _, owner_key = await steps.make_account(admin, OWNER)
        owner = await stack.enter_async_context(Rest(cluster.rest_url, owner_key))
        connection = await admin.post(
            "/v1/admin/broker-connections",
            {
                "name": "customer",
                "broker_url": to_customer.address,
                "connection_type": "kafka_unauthenticated_plaintext",
            },
        )
        yield World(
            cluster=cluster,
            customer=kafka,
            to_customer=to_customer,
            to_runner=to_runner,
            tap=tap,
            admin=admin,
            owner=owner,
            connection=str(connection["id"]),
            endpoint_url=endpoint_url,
            run_log=run_log,
            clock_file=clock_file,
        )


async def _endpoint(stack: AsyncExitStack, cluster: Cluster, run_log: Path) -> str:
    """The algorithm's process; returns its URL when it answers."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    process = Process.spawn(
        [sys.executable, "-m", "tests.support.chaos_algorithm", str(port), str(run_log)],
        name="algorithm",
        log_path=cluster.data_dir / "logs" / "algorithm.log",
    )
    stack.push_async_callback(process.terminate)

    async def probe() -> None:
        async with aiohttp.ClientSession() as session, session.post(f"{url}/mode/usual") as answer:
            answer.raise_for_status()

    await process.wait_ready(probe)
    return url


def hot_key(dice: random.Random, keys: int) -> bytes:
    """One of `keys` keys; a few of them come often, so that records of a key follow each other."""
    return b"key-%d" % int(keys * dice.random() ** 3)


async def after(seconds: float) -> None:
    """The world goes on meanwhile."""
    await asyncio.sleep(seconds)
