"""The short form of the fault suite: the most telling strikes, each once, on real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.support import chaos_strikes
from tests.support.chaos_report import table
from tests.support.chaos_run import Plan, run_fault
from tests.support.chaos_strikes import STRIKES
from tests.support.chaos_world import World, running_world

pytestmark = pytest.mark.timeout(300)

SEED = 5
WORKERS = 2
PAIRS = 2
POISON = {20: "fail", 31: "hang", 40: "cut"}
SEQUENCE = [
    ("kafka", replace(STRIKES["customers-kafka"], every_s=0)),
    (
        "cut",
        replace(STRIKES["cut"], act=chaos_strikes.cut_customer_off_for_a_moment, every_s=0),
    ),
    ("sigterm", replace(STRIKES["sigterm"], every_s=0)),
    ("kill", replace(STRIKES["kill"], every_s=0)),
]
"""The brokers first: what a flow makes of an outage goes on while workers come and go."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world() -> AsyncIterator[World]:
    async with running_world(workers=WORKERS) as world:
        yield world


async def test_workers_kafka_and_the_network_fail_and_every_record_has_one_fate_in_order(
    world: World,
) -> None:
    plan = Plan(
        fault="short form", seconds=0, seed=SEED, pairs=PAIRS, sequence=SEQUENCE, poison=POISON
    )
    report = await run_fault(world, plan)
    print(table([report]))
    assert not report.problems
    assert report.letters >= len(POISON)
