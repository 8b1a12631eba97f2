"""`router.throughput`: from a Kafka topic to an algorithm that answers at once."""

from __future__ import annotations

from collections import defaultdict

from tests.bench.contest import Effort, described, effort, median, reference, router
from tests.bench.measurement import SCALE, Aim, Measurement, measured
from tests.bench.router_world import KEYS, fill, router_world

REPETITIONS = 3
RECORDS = int(100_000 * SCALE)
RECORD_BYTES = 200
PARTITIONS = 12
SLOW_RECORDS = RECORDS // 5
"""For FastStream, which would take a minute for all of them."""
OURS, LOOP, FASTSTREAM = "router", "plain loop", "FastStream"
CONTESTANTS = {
    LOOP: (reference("plain_loop"), RECORDS),
    FASTSTREAM: (reference("faststream_app"), SLOW_RECORDS),
    OURS: (router, RECORDS),
}


async def measure() -> Measurement:
    """Each of them reads the same records, alternately."""
    efforts: dict[str, list[Effort]] = defaultdict(list)
    async with router_world() as world:
        for _ in range(REPETITIONS):
            topic = await world.topic(PARTITIONS)
            await fill(world.cluster.kafka, topic, RECORDS, size_bytes=RECORD_BYTES, keys=KEYS)
            for name, (contestant, records) in CONTESTANTS.items():
                efforts[name].append(await effort(world, contestant, topic, records))
        program = world.endpoint.program
    ours, loop = efforts[OURS], efforts[LOOP]
    cpu_share = median(ours, "cpu_ms_per_1000") / median(loop, "cpu_ms_per_1000")
    rate_ratio = median(ours, "records_per_s") / median(loop, "records_per_s")
    return measured(
        "router.throughput",
        [one.records_per_s for one in ours],
        unit="records/s",
        reference=LOOP,
        reference_values=[one.records_per_s for one in loop],
        packages=["aiokafka", "aiohttp", "faststream", "httptools", "uvloop"],
        aims=[
            Aim(what="records/s ÷ plain loop", value=rate_ratio, limit=3.0, at_least=True),
            Aim(what="CPU ÷ plain loop", value=cpu_share, limit=0.3),
        ],
        notes={
            **{f"{key}, router": text for key, text in described(ours).items()},
            **{f"{key}, plain loop": text for key, text in described(loop).items()},
            "records/s, FastStream": round(median(efforts[FASTSTREAM], "records_per_s")),
            **{f"{key}, FastStream": text for key, text in described(efforts[FASTSTREAM]).items()},
            "endpoint": program,
            "records": RECORDS,
            "record bytes": RECORD_BYTES,
            "partitions": PARTITIONS,
            "keys": KEYS,
        },
    )
