"""One run of the fault suite: traffic, strikes, the end, and what the checker says of it."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from router.domain.flow_spec import CONCURRENCY_DEFAULT

from tests.support.chaos_algorithm import fails
from tests.support.chaos_end import until_the_end
from tests.support.chaos_report import Findings, Injury, Report, report
from tests.support.chaos_strikes import RANDOM, STRIKES, Scene, Strike
from tests.support.chaos_traffic import Traffic
from tests.support.chaos_world import Wires, World, after
from tests.support.checker import Fate, judge, order_breaks
from tests.support.checker_reads import letter_of, read_topic

LETTERS_TOPIC = "dead-letters"
QUIET_S = 2.0
"""Before the first strike: a flow that has just begun is no witness."""
PAIRS = 3
RECORDS_PER_S = 220.0
RANDOM_EVERY_S = (5.0, 20.0)
TAKES_COMMITS_AWAY = frozenset({"customers-kafka", "cut"})
POISON_EVERY = 400
POISON = ("fail", "hang", "cut")
POISON_AMONG_OTHERS = ("fail", "hang")
"""What cuts its connection looks like an algorithm that is away, which is tried for hours."""
TIMEOUT_S = 2
GIVING_UP = (
    {"failure": "unreachable", "attempts_max": 5, "delay_longest_ms": 1_000},
    {"failure": "timed_out", "attempts_max": 3, "delay_longest_ms": 1_000},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do. `fault` is a name of STRIKES, or RANDOM, and goes on for `seconds`.

    With `sequence` these strikes are made instead, each once, one after the other. `poison`: what
    is wrong with which record; None: a mixture for the faults that have it.
    """

    fault: str
    seconds: float
    seed: int
    records_per_s: float = RECORDS_PER_S
    pairs: int = PAIRS
    sequence: Sequence[tuple[str, Strike]] = ()
    poison: Mapping[int, str] | None = None


async def run_fault(world: World, plan: Plan) -> Report:
    """Wire new flows, send, strike until the time is up, wait for the end, judge."""
    poison = _poison(plan)
    wires = [await world.wire(**_settings(poison)) for _ in range(plan.pairs)]
    scene = Scene(world=world, wires=wires, dice=random.Random(f"{plan.seed}/{plan.fault}"))
    traffic = Traffic(
        world.customer, wires, per_s=plan.records_per_s, seed=plan.seed, poison=poison
    )
    traffic.start()
    began_s = time.monotonic()
    try:
        injuries = await _strike(scene, plan, traffic)
    finally:
        due_s = time.monotonic() - began_s - sum(scene.silences_s)
        await world.mend()
        await traffic.stop()
    stopped_s = time.monotonic()
    tail = await until_the_end(world, wires)
    busiest = _busiest(world, wires, stopped_s)
    findings = [await _findings(world, one, set(poison)) for one in wires]
    for one in wires:
        await world.unwire(one)
    return report(
        plan.fault,
        findings=findings,
        records_due=plan.records_per_s * due_s,
        in_flight_max=plan.pairs * CONCURRENCY_DEFAULT,
        uncommitted=tail.records_left,
        injuries=injuries,
        stopped_s=stopped_s,
        caught_up_s=tail.took_s,
        last=f"{tail.last}; {busiest}",
    )


async def _strike(scene: Scene, plan: Plan, traffic: Traffic) -> list[Injury]:
    """Strike again and again until the time is up; when each began."""
    await after(QUIET_S)
    injuries: list[Injury] = []
    end_s = math.inf if plan.sequence else time.monotonic() + plan.seconds
    for name, strike in _strikes(plan, scene.dice):
        began_s = time.monotonic()
        print(f"  {time.strftime('%H:%M:%S')} {name}, {traffic.sent} records sent", flush=True)
        await strike.act(scene)
        killed_s = scene.kills_s.pop() if scene.kills_s else None
        injuries.append(
            Injury(
                name=name,
                at_s=began_s,
                killed_s=killed_s,
                commits_until_s=commits_until_s(injuries),
                allows=strike.allows,
            )
        )
        every_s = scene.dice.uniform(*RANDOM_EVERY_S) if plan.fault == RANDOM else strike.every_s
        next_s = max(began_s + every_s, time.monotonic())
        await after(max(0.0, min(next_s, end_s) - time.monotonic()))
        if time.monotonic() >= end_s:
            break
    return injuries


def commits_until_s(before: Sequence[Injury]) -> float | None:
    """When the last of these strikes has taken the customer's Kafka away: it may not be back yet
    when the next one comes. None: it has not."""
    return before[-1].at_s if before and before[-1].name in TAKES_COMMITS_AWAY else None


def _strikes(plan: Plan, dice: random.Random) -> Iterator[tuple[str, Strike]]:
    """In the order in which they are made; for ever, unless the plan has a sequence."""
    if plan.sequence:
        yield from plan.sequence
        return
    while True:
        name = dice.choice(sorted(STRIKES)) if plan.fault == RANDOM else plan.fault
        yield name, STRIKES[name]


def _poison(plan: Plan) -> Mapping[int, str]:
    """Which records are poison, and of which kind."""
    if plan.poison is not None:
        return plan.poison
    if plan.fault not in {"poison", RANDOM}:
        return {}
    kinds = POISON_AMONG_OTHERS if plan.fault == RANDOM else POISON
    count = int(plan.seconds * plan.records_per_s)
    return {
        number: kinds[index % len(kinds)]
        for index, number in enumerate(range(POISON_EVERY // 2, count, POISON_EVERY))
    }


def _settings(poison: Mapping[int, str]) -> dict[str, Any]:
    """Of the flows to the algorithm: they must not wait for poison as long as for a true one."""
    settings: dict[str, Any] = {"timeout_s": TIMEOUT_S} if poison else {}
    if "cut" in poison.values():
        settings["retries"] = list(GIVING_UP)
    return settings


def _busiest(world: World, wires: Sequence[Wires], since_s: float) -> str:
    """Records of a key run one after the other: with what one key has left nobody can be faster."""
    runs = Counter(
        (run["algorithm"], run["key"])
        for one in wires
        for run in world.runs(one)
        if run["at_s"] >= since_s
    )
    (name, key), count = max(runs.items(), key=lambda each: each[1], default=(("", "none"), 0))
    return f"{count} runs since then of the busiest key, {name} {key}"


async def _findings(world: World, wires: Wires, poison: set[int]) -> Findings:
    """Read the three topics to their ends, and what the algorithm wrote down."""

    def expected(number: int) -> Fate:
        return Fate.LETTER if fails(number) or number in poison else Fate.RESULT

    source = await read_topic(world.customer, wires.source)
    wanted = letter_of(frozenset({wires.subscriber, wires.publisher}))
    verdict = judge(
        source,
        await read_topic(world.customer, wires.results),
        await read_topic(world.cluster.kafka, LETTERS_TOPIC, wanted=wanted),
        expected=expected,
    )
    runs = world.runs(wires)
    places = {one.number: (one.partition, one.offset) for one in source}
    made = Counter(run["n"] for run in runs if run["n"] not in poison)
    return Findings(
        verdict=verdict,
        sent=world.sent(wires),
        runs_repeated=made.total() - len(made),
        run_order_breaks=order_breaks(((run["key"].encode(), run["n"]) for run in runs), places),
    )
