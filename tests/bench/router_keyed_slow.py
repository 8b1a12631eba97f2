"""`router.keyed_slow`: one partition, 20 keys, 5 ms of work; the order is checked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tests.bench.contest import Contestant, reference, router
from tests.bench.measurement import SCALE, Aim, Measurement, measured
from tests.bench.router_world import RUN_TIMEOUT_S, RouterWorld, fill, router_world

REPETITIONS = 3
RECORDS = int(10_000 * SCALE)
RECORD_BYTES = 200
KEYS = 20
DELAY_MS = 5.0


async def measure() -> Measurement:
    """Seconds from the first record that arrives at the endpoint to the answer of the last one."""
    taken_s: dict[str, list[float]] = defaultdict(list)
    breaks: dict[str, int] = defaultdict(int)
    ideals_s = []
    contestants: dict[str, Contestant] = {"plain loop": reference("plain_loop"), "router": router}
    async with router_world(delay_ms=DELAY_MS, notes=True) as world:
        for _ in range(REPETITIONS):
            topic = await world.topic(1)
            await fill(world.cluster.kafka, topic, RECORDS, size_bytes=RECORD_BYTES, keys=KEYS)
            for name, contestant in contestants.items():
                seconds, delay_s, broken = await _run(world, contestant, topic)
                taken_s[name].append(seconds)
                breaks[name] += broken
                if name == "router":
                    ideals_s.append(RECORDS * delay_s / KEYS)
    ratios = [taken / ideal for taken, ideal in zip(taken_s["router"], ideals_s, strict=True)]
    return measured(
        "router.keyed_slow",
        taken_s["router"],
        unit="s",
        reference="the ideal: records × the endpoint's measured delay ÷ keys",
        reference_values=ideals_s,
        packages=["aiokafka", "httptools", "uvloop"],
        aims=[
            Aim(what="time ÷ ideal", value=sorted(ratios)[len(ratios) // 2], limit=1.1),
            Aim(what="order breaks", value=breaks["router"], limit=0),
        ],
        notes={
            "s, plain loop": round(sorted(taken_s["plain loop"])[REPETITIONS // 2], 2),
            "order breaks, plain loop": breaks["plain loop"],
            "records": RECORDS,
            "keys": KEYS,
            "endpoint's delay ms, as asked for": DELAY_MS,
        },
    )


async def _run(world: RouterWorld, contestant: Contestant, topic: str) -> tuple[float, float, int]:
    """Seconds, the endpoint's mean delay, order breaks."""
    await world.endpoint.forget()
    async with contestant(world, topic):
        await world.endpoint.until(RECORDS, timeout_s=RUN_TIMEOUT_S)
        delay_s = await world.endpoint.delay_s()
        notes = await world.endpoint.notes()
    seconds = notes[-1][1] - notes[0][1] + delay_s
    return seconds, delay_s, order_breaks([number for number, _ in notes])


def order_breaks(numbers: Sequence[int]) -> int:
    """Among first occurrences: records that came after a later one of their key."""
    newest, breaks = [-1] * KEYS, 0
    known: set[int] = set()
    for number in numbers:
        if number not in known:
            known.add(number)
            key = number % KEYS
            breaks += number < newest[key]
            newest[key] = max(number, newest[key])
    return breaks
