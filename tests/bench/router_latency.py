"""`router.latency`: 300 records/s, from appended at the broker to arrived at the algorithm."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from devstack import Kafka

from tests.bench.contest import Contestant, reference, router
from tests.bench.cores import cpu_s
from tests.bench.measurement import SCALE, Aim, Measurement, measured
from tests.bench.router_world import KEYS, RUN_TIMEOUT_S, RouterWorld, router_world, value

REPETITIONS = 3
SECONDS = 20.0 * SCALE
RECORDS_PER_S = 300
RECORD_BYTES = 200
PARTITIONS = 12
WARM_UP_RECORDS = 300
HALF_MS = 0.5
"""The broker's time of appending is cut off to a millisecond: half of one, on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """One repetition, milliseconds."""

    p50: float
    p99: float
    sent_p50: float
    cpu_ms_per_1000: float


async def measure() -> Measurement:
    """Plain loop, router and bare fetches in turn, each with a topic and a producer of its own."""
    ours: list[Delays] = []
    loop: list[Delays] = []
    bare: list[Delays] = []
    async with router_world(notes=True) as world:
        for _ in range(REPETITIONS):
            loop.append(await _run(world, reference("plain_loop")))
            ours.append(await _run(world, router))
            bare.append(await _run(world, reference("bare_fetch")))
    p99_ratio = _median(ours, "p99") / _median(loop, "p99")
    cpu_ratio = _median(ours, "cpu_ms_per_1000") / _median(loop, "cpu_ms_per_1000")
    return measured(
        "router.latency",
        [one.p50 for one in ours],
        unit="ms, p50",
        reference="plain loop",
        reference_values=[one.p50 for one in loop],
        packages=["aiokafka", "aiohttp", "httptools", "uvloop"],
        aims=[
            Aim(
                what="p50 ÷ plain loop",
                value=_median(ours, "p50") / _median(loop, "p50"),
                limit=0.5,
            ),
            Aim(what="p99 ÷ plain loop", value=p99_ratio, limit=0.3),
            Aim(what="CPU ÷ plain loop", value=cpu_ratio, limit=0.7),
        ],
        notes={
            "p99 ms": round(_median(ours, "p99"), 2),
            "p99 ms, plain loop": round(_median(loop, "p99"), 2),
            "p50 ms, bare fetches": round(_median(bare, "p50"), 2),
            "p99 ms, bare fetches": round(_median(bare, "p99"), 2),
            "p50 ms since sent": round(_median(ours, "sent_p50"), 2),
            "p50 ms since sent, plain loop": round(_median(loop, "sent_p50"), 2),
            "CPU ms per 1,000 records": round(_median(ours, "cpu_ms_per_1000"), 1),
            "CPU ms per 1,000 records, plain loop": round(_median(loop, "cpu_ms_per_1000"), 1),
            "CPU ms per 1,000 records, bare fetches": round(_median(bare, "cpu_ms_per_1000"), 1),
            "records/s": RECORDS_PER_S,
            "seconds": SECONDS,
            "partitions": PARTITIONS,
        },
    )


async def _run(world: RouterWorld, contestant: Contestant) -> Delays:
    topic = await world.topic(PARTITIONS, config={"message.timestamp.type": "LogAppendTime"})
    await world.endpoint.forget()
    async with contestant(world, topic) as pid:
        sent = await _produce(world.cluster.kafka, topic, WARM_UP_RECORDS, first=0)
        await world.endpoint.until(len(sent), timeout_s=RUN_TIMEOUT_S)
        await world.endpoint.forget()
        used_s, count = cpu_s(pid), int(RECORDS_PER_S * SECONDS)
        sent = await _produce(world.cluster.kafka, topic, count, first=WARM_UP_RECORDS)
        await world.endpoint.until(count, timeout_s=RUN_TIMEOUT_S)
        used_s = cpu_s(pid) - used_s
        arrived = dict(reversed(await world.endpoint.notes()))  # the first time of each
    appended_ms = {number: appended for number, (_, appended) in sent.items()}
    since_append = [arrived[n] * 1e3 - at - HALF_MS for n, at in appended_ms.items()]
    since_sent = [(arrived[n] - at_s) * 1e3 for n, (at_s, _) in sent.items()]
    return Delays(
        p50=statistics.median(since_append),
        p99=statistics.quantiles(since_append, n=100)[-1],
        sent_p50=statistics.median(since_sent),
        cpu_ms_per_1000=used_s / count * 1e6,
    )


async def _produce(
    kafka: Kafka, topic: str, count: int, *, first: int
) -> dict[int, tuple[float, float]]:
    """Send at a steady rate: when each was sent, and the broker's milliseconds of appending it."""
    producer = AIOKafkaProducer(**kafka.client_settings(), acks=1)
    await producer.start()
    try:
        started_s, sending = time.monotonic(), {}
        for index in range(count):
            await asyncio.sleep(max(0.0, started_s + index / RECORDS_PER_S - time.monotonic()))
            number = first + index
            at_s = time.time()
            acknowledged = await producer.send(
                topic, key=b"key-%d" % (number % KEYS), value=value(number, RECORD_BYTES)
            )
            sending[number] = (at_s, acknowledged)
        return {n: (at_s, (await ack).timestamp) for n, (at_s, ack) in sending.items()}
    finally:
        await producer.stop()


def _median(delays: Sequence[Delays], field: str) -> float:
    return float(statistics.median(getattr(one, field) for one in delays))
