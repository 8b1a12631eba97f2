"""Each fault for a minute, on one cluster of real processes; `make chaos` is the longer form.

Nothing is lost, no order breaks, and repeats stay within what is promised.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.chaos_report import table
from tests.support.chaos_run import Plan, run_fault
from tests.support.chaos_strikes import RANDOM, STRIKES
from tests.support.chaos_world import World, running_world

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]

SECONDS = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world() -> AsyncIterator[World]:
    async with running_world() as world:
        yield world


@pytest.mark.parametrize("fault", [*STRIKES, RANDOM])
async def test_nothing_is_lost_and_no_order_breaks(world: World, fault: str) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    report = await run_fault(world, Plan(fault=fault, seconds=SECONDS, seed=seed))
    print(f"FAULT={fault} SEED={seed}\n{table([report])}")
    assert not report.problems
