"""`router.kafka_records_per_s`: from a Kafka topic to an algorithm that answers at once."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from dataclasses import dataclass

from devstack import Process, free_ports
from devstack.cluster import Cluster
from devstack.rest import Rest

from examples.demo import steps
from tests.bench.cores import MEASURED, OTHERS, cpu_s, pin
from tests.bench.measurement import Measurement, measured
from tests.support.produce import produce_values

REPETITIONS = 3
RECORDS = 30_000
RECORD_BYTES = 1_000
PARTITIONS = 8
KEYS = 1_000
IN_FLIGHT = 64
WARM_UP_SHARE = 0.1
RUN_TIMEOUT_S = 180.0
POLL_PAUSE_S = 0.02
OWNER, NAME = "acme", "instant"
ALGORITHM = f"{OWNER}/{NAME}"


@dataclass(frozen=True, slots=True)
class Run:
    """One repetition."""

    records_per_s: float
    cpu_s_per_1000: float


async def measure() -> Measurement:
    """Alternate the router and the bare loop on one core; all else on the other."""
    os.sched_setaffinity(0, OTHERS)
    (port,) = free_ports(1)
    instant = f"http://127.0.0.1:{port}"
    extra = {"router": {"runner_url": instant}}
    async with Cluster(customer=False, extra=extra) as cluster:
        endpoint = Process.spawn(
            [sys.executable, "-m", "tests.bench.instant_endpoint", str(port)],
            name="instant",
            log_path=cluster.data_dir / "logs" / "instant.log",
        )
        (router,) = cluster.routers
        pin(router.process.pid, MEASURED)
        try:
            ours, bare = await _alternate(cluster, instant)
        finally:
            await endpoint.terminate()
    return measured(
        "router.kafka_records_per_s",
        [run.records_per_s for run in ours],
        unit="records/s",
        reference="bare aiokafka + aiohttp loop",
        reference_values=[run.records_per_s for run in bare],
        packages=["aiokafka", "aiohttp", "faust-streaming", "uvloop"],
        notes={
            "CPU s per 1,000 records": round(statistics.median(r.cpu_s_per_1000 for r in ours), 3),
            "CPU s per 1,000 records of the bare loop": round(
                statistics.median(r.cpu_s_per_1000 for r in bare), 3
            ),
            "record bytes": RECORD_BYTES,
            "partitions": PARTITIONS,
            "in flight": IN_FLIGHT,
        },
    )


async def _alternate(cluster: Cluster, instant: str) -> tuple[list[Run], list[Run]]:
    admin_key = await cluster.first_admin()
    async with Rest(cluster.rest_url, admin_key) as admin:
        _, owner_key = await steps.make_account(admin, OWNER)
        connection = str(
            (
                await admin.post(
                    "/v1/admin/broker-connections",
                    {
                        "name": "bench",
                        "broker_url": cluster.kafka.bootstrap_servers,
                        "connection_type": "kafka_unauthenticated_plaintext",
                    },
                )
            )["id"]
        )
        async with Rest(cluster.rest_url, owner_key) as owner:
            version = await steps.publish_algorithm(
                owner, owner=OWNER, name=NAME, source={"endpoint_url": instant}
            )
            ours, bare = [], []
            for number in range(REPETITIONS):
                topic = f"bench-{number}"
                await cluster.kafka.create_topic(topic, partitions=PARTITIONS)
                await produce_values(
                    cluster.kafka,
                    topic,
                    ((f"key-{n % KEYS}".encode(), _value(n)) for n in range(RECORDS)),
                )
                bare.append(await _bare_run(cluster, topic, f"{instant}/v1/algo/x/y/1.0.0"))
                ours.append(await _router_run(cluster, admin, owner, connection, topic, version))
    return ours, bare


def _value(number: int) -> bytes:
    text = f'{{"number":{number},"filling":"'
    return f'{text}{"x" * (RECORD_BYTES - len(text) - 2)}"}}'.encode()


async def _router_run(
    cluster: Cluster, admin: Rest, owner: Rest, connection: str, topic: str, version: str
) -> Run:
    await steps.grant(
        admin, connection=connection, topic=topic, algorithms={ALGORITHM: "subscriber"}
    )
    flow = await steps.enable(
        owner,
        ALGORITHM,
        topic=topic,
        api_type="subscriber",
        version=version,
        concurrency_max=IN_FLIGHT,
    )
    pid = cluster.routers[0].process.pid
    warm_at = int(RECORDS * WARM_UP_SHARE)
    begun = await _settled(owner, flow, at_least=warm_at)
    started_s, started_cpu_s = time.monotonic(), cpu_s(pid)
    ended = await _settled(owner, flow, at_least=RECORDS)
    took_s, used_s = time.monotonic() - started_s, cpu_s(pid) - started_cpu_s
    await owner.put(f"/v1/algorithms/{ALGORITHM}/event-flows/{flow}", {"enabled": False})
    count = ended - begun
    return Run(count / took_s, used_s / count * 1000)


async def _settled(owner: Rest, flow: str, *, at_least: int) -> int:
    """Wait until the flow has settled so many records; returns how many it has."""
    async with asyncio.timeout(RUN_TIMEOUT_S):
        while True:
            state = await owner.get(f"/v1/algorithms/{ALGORITHM}/event-flows/{flow}")
            settled = int((state["live"] or {}).get("settled_total", 0))
            if settled >= at_least:
                return settled
            await asyncio.sleep(POLL_PAUSE_S)


async def _bare_run(cluster: Cluster, topic: str, url: str) -> Run:
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.bare_loop",
        cluster.kafka.bootstrap_servers, topic, url, str(RECORDS),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    pin(run.pid, MEASURED)
    async with asyncio.timeout(RUN_TIMEOUT_S):
        output, _ = await run.communicate()
    rate, cpu = output.split()
    return Run(float(rate), float(cpu))
