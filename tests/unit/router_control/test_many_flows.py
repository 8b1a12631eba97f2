"""With 10,000 flows defined a change is acted upon at once, and by what it touches alone."""

from __future__ import annotations

import asyncio

import pytest
from router.application.shards import SHARDS
from router.application.supervisor import CAPACITY_MAX, FLOWS_AT_ONCE_MAX
from router.domain.run_mode import RunMode

from tests.support.event_log import EventLog
from tests.support.many_flows import log_of_flows, running_flows

FLOWS = 10_000
EFFECTIVE_MAX_S = 1.0


@pytest.fixture(scope="module")
def log() -> EventLog:
    """10,000 enabled flows."""
    log, _ = log_of_flows(FLOWS)
    return log


async def test_a_change_is_effective_within_a_second_and_touches_no_other_flow(
    log: EventLog,
) -> None:
    async with running_flows(log) as many:
        await many.until(lambda: len(many.pumps) == CAPACITY_MAX)
        assert len(many.supervisor.blocked()) == FLOWS - CAPACITY_MAX
        flow_id, pump = next(iter(many.pumps.items()))
        paused_s = await many.change(
            lambda: log.pause(flow_id), lambda: pump.mode is RunMode.PAUSED
        )
        assert paused_s < EFFECTIVE_MAX_S
        resumed_s = await many.change(
            lambda: log.resume(flow_id), lambda: pump.mode is RunMode.RUNNING
        )
        assert resumed_s < EFFECTIVE_MAX_S
        assert many.made == CAPACITY_MAX, "no pump was made for it"


async def test_a_flow_that_ends_leaves_its_place_to_one_that_waits(log: EventLog) -> None:
    async with running_flows(log) as many:
        await many.until(lambda: len(many.pumps) == CAPACITY_MAX)
        flow_id = next(iter(many.pumps))
        await many.change(lambda: log.disable(flow_id), lambda: many.made == CAPACITY_MAX + 1)
        log.enable(flow_id)


async def test_pumps_get_their_turns_while_all_flows_are_looked_at(log: EventLog) -> None:
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with running_flows(log) as many:
        watching = asyncio.create_task(watch())
        many.ownership.assign(range(SHARDS // 2))
        await many.until(lambda: len(many.pumps) == CAPACITY_MAX)
        watching.cancel()
    assert turns > FLOWS / FLOWS_AT_ONCE_MAX
