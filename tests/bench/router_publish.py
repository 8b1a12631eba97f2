"""`router.publish`: completions to a Kafka topic, acknowledged by all, ordered by key (checked)."""

from __future__ import annotations

import asyncio
import statistics
import sys
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.bench.cores import MEASURED, cpu_s, pin
from tests.bench.measurement import SCALE, Aim, Measurement, measured
from tests.bench.router_world import KEYS, RUN_TIMEOUT_S, RouterWorld, router_world, value
from tests.support.checker import Fate, Verdict, judge
from tests.support.checker_reads import read_topic

REPETITIONS = 3
RECORDS = int(50_000 * SCALE)
RECORD_BYTES = 200
PARTITIONS = 12
IN_FLIGHT = 64
"""What a flow has by default."""
UNBOUND = 10_000
WARM_UP_SHARE = 0.1
LOOK_S = 0.02
READY_TIMEOUT_S = 90.0
COMPLETIONS = "completions."


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One repetition."""

    records_per_s: float
    cpu_ms_per_1000: float


async def measure() -> Measurement:
    """Alternate the bare producer, on the worker's core, and a publisher flow."""
    ours, bare, unbound = [], [], []
    async with router_world() as world:
        results = await world.topic(PARTITIONS)
        await world.publish_to(results, concurrency_max=IN_FLIGHT)
        for first in range(0, REPETITIONS * RECORDS, RECORDS):
            other = await world.topic(PARTITIONS)
            bare.append(await _bare(world, other, IN_FLIGHT))
            unbound.append(await _bare(world, other, UNBOUND))
            ours.append(await _publish(world, results, range(first, first + RECORDS)))
        verdict = await _verdict(world, results)
    rate, cpu = (
        [statistics.median(getattr(one, field) for one in runs) for runs in (ours, bare)]
        for field in ("records_per_s", "cpu_ms_per_1000")
    )
    return measured(
        "router.publish",
        [one.records_per_s for one in ours],
        unit="records/s",
        reference=f"bare aiokafka producer, {IN_FLIGHT} in flight",
        reference_values=[one.records_per_s for one in bare],
        packages=["aiokafka", "uvloop"],
        aims=[
            Aim(what="records/s ÷ bare", value=rate[0] / rate[1], limit=0.7, at_least=True),
            Aim(what="CPU of bare ÷ CPU", value=cpu[1] / cpu[0], limit=0.7, at_least=True),
            Aim(what="lost", value=REPETITIONS * RECORDS - verdict.results, limit=0),
            Aim(what="order breaks", value=len(verdict.order_breaks), limit=0),
        ],
        notes={
            "CPU ms per 1,000 records": round(cpu[0], 1),
            "CPU ms per 1,000 records, bare": round(cpu[1], 1),
            f"records/s, bare, {UNBOUND} in flight": round(
                statistics.median(one.records_per_s for one in unbound)
            ),
            "results repeated": verdict.results_repeated,
            "records": RECORDS,
            "partitions": PARTITIONS,
        },
    )


async def _publish(world: RouterWorld, results: str, numbers: range) -> Run:
    """The worker finds all completions written when it starts."""
    (worker,) = world.cluster.routers
    await worker.stop()
    await _write_completions(world, numbers)
    async with AIOKafkaConsumer(
        results, group_id=None, **world.cluster.kafka.client_settings()
    ) as reader:
        before = await _written(reader)
        worker.spawn()
        begun = await _until(reader, before + int(len(numbers) * WARM_UP_SHARE))
        used_s, at_s = cpu_s(worker.process.pid), asyncio.get_running_loop().time()
        ended = await _until(reader, before + len(numbers))
        took_s = asyncio.get_running_loop().time() - at_s
        used_s = cpu_s(worker.process.pid) - used_s
    await worker.ready(timeout_s=READY_TIMEOUT_S)
    return Run(
        records_per_s=(ended - begun) / took_s, cpu_ms_per_1000=used_s / (ended - begun) * 1e6
    )


async def _verdict(world: RouterWorld, results: str) -> Verdict:
    """Of all repetitions, from what stands in the two topics."""
    kafka = world.cluster.kafka
    return judge(
        await read_topic(kafka, await _completions(world)),
        await read_topic(kafka, results),
        [],
        expected=lambda _: Fate.RESULT,
    )


async def _completions(world: RouterWorld) -> str:
    (topic,) = [name for name in await world.cluster.kafka.topics() if name.startswith(COMPLETIONS)]
    return topic


async def _write_completions(world: RouterWorld, numbers: range) -> None:
    """As the runner would have written them under the present configuration."""
    kafka, topic = world.cluster.kafka, await _completions(world)
    head = await world.admin.get("/v1/admin/log/head")
    headers = {
        "ef-status": "succeeded",
        "ef-version": world.version,
        "ef-mode": "live",
        "ef-content-type": "json",
        "ef-hops": "1",
        "ef-position": str(head["position"]),
    }
    common = [(name, text.encode()) for name, text in headers.items()]
    async with AIOKafkaProducer(
        **kafka.client_settings(), acks="all", linger_ms=5, max_batch_size=256 * 1024
    ) as producer:
        sent = []
        for number in numbers:
            request_id = ("ef-request-id", b"req-%d" % number)
            sent.append(
                await producer.send(
                    topic,
                    key=b"key-%d" % (number % KEYS),
                    value=value(number, RECORD_BYTES),
                    headers=[*common, request_id],
                )
            )
        await asyncio.gather(*sent)


async def _written(reader: AIOKafkaConsumer) -> int:
    return sum((await reader.end_offsets(list(reader.assignment()))).values())


async def _until(reader: AIOKafkaConsumer, count: int) -> int:
    async with asyncio.timeout(RUN_TIMEOUT_S):
        while (written := await _written(reader)) < count:
            await asyncio.sleep(LOOK_S)
    return written


async def _bare(world: RouterWorld, topic: str, in_flight: int) -> Run:
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.references.bare_producer",
        world.cluster.kafka.bootstrap_servers, topic, str(RECORDS), str(in_flight),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    pin(run.pid, MEASURED)
    try:
        async with asyncio.timeout(RUN_TIMEOUT_S):
            output, _ = await run.communicate()
    finally:
        if run.returncode is None:
            run.kill()
    rate, cpu = output.split()
    return Run(records_per_s=float(rate), cpu_ms_per_1000=float(cpu))
