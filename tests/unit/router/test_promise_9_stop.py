"""Stop drains, settles, leaves."""

import asyncio
from collections.abc import Mapping

from kernel.errors import Unavailable
from router.adapters.memory_broker import MemoryBroker
from router.adapters.memory_source import MemorySource
from router.application.limits import LAST_SETTLE_ROOM_S
from router.domain.low_water import Mark
from router.domain.status import PumpState

from tests.support.manual_clock import let_others_run
from tests.support.router_pumps import (
    Joiner,
    running_pump,
)


async def test_promise_9_stop_drains_and_settles_what_runs() -> None:
    async with running_pump() as bench:
        bench.target.hold(b"running")
        bench.broker.append(b"running", key=b"k")
        bench.broker.append(b"behind", key=b"k")
        await bench.target.until_runs(1)
        stopping = asyncio.create_task(bench.pump.stop(grace_s=30))
        await bench.until_state(PumpState.DRAINING)
        bench.broker.append(b"later", key=b"other")
        await let_others_run()
        await bench.target.let_go(b"running")
        await stopping
        assert bench.target.values == [b"running"]
        assert bench.broker.committed == {0: 1}
        assert bench.pump.status().state is PumpState.STOPPED
        await bench.running


async def test_promise_9_stop_leaves_the_group() -> None:
    broker = MemoryBroker(partitions=2)
    async with running_pump(broker=broker) as bench:
        await bench.until_state(PumpState.RUNNING)
        second, joiner = MemorySource(broker), Joiner()
        await second.open(joiner)
        assert len(joiner.partitions) == 1
        await bench.pump.stop(grace_s=1)
        assert joiner.partitions == {0, 1}
        await second.close()


async def test_promise_9_stop_waits_no_longer_than_the_grace_time() -> None:
    async with running_pump() as bench:
        bench.target.hold(b"stuck")
        bench.broker.append(b"stuck")
        await bench.target.until_runs(1)
        stopping = asyncio.create_task(bench.pump.stop(grace_s=7))
        await bench.clock.run_until(stopping.done, step_s=0.01)
        assert 7 <= bench.clock.monotonic_s() < 8
        assert bench.broker.commits == []
        await bench.pump.stop(grace_s=7)


async def test_promise_9_a_pump_that_never_ran_can_be_stopped() -> None:
    async with running_pump() as bench:
        await bench.pump.stop(grace_s=1)
        assert bench.pump.status().state is PumpState.STOPPED
        await bench.running
        assert bench.target.runs == []


async def test_promise_9_a_settle_that_fails_at_the_stop_is_tried_again() -> None:
    async with running_pump() as bench:
        bench.broker.append(b"one")
        await bench.until_settled(1)
        bench.source.settle_failures = 2
        await bench.pump.stop(grace_s=1)
        assert bench.broker.committed == {0: 1}


async def test_promise_9_a_stop_does_not_wait_for_a_broker_that_settles_nothing() -> None:
    async with running_pump() as bench:
        bench.broker.append(b"one")
        await bench.until_settled(1)
        bench.source.settle_failures = 1_000
        await bench.pump.stop(grace_s=1)
        assert bench.broker.committed == {}


async def test_promise_9_a_stop_does_not_wait_for_a_broker_that_fails_to_settle_slowly() -> None:
    commit_s, grace_s = 10.0, 1.0
    async with running_pump() as bench:
        begun = 0

        async def settle(marks: Mapping[int, Mark], *, epoch: int) -> int:
            nonlocal begun
            begun += 1
            await bench.clock.sleep(commit_s)
            raise Unavailable("no answer in time")

        bench.source.settle = settle  # type: ignore[method-assign]
        bench.broker.append(b"one")
        await bench.clock.run_until(lambda: begun == 1)
        bench.broker.append(b"two")
        await bench.clock.run_until(lambda: begun == 2)
        began_s = bench.clock.monotonic_s()
        stopping = asyncio.create_task(bench.pump.stop(grace_s=grace_s))
        await bench.clock.run_until(stopping.done)
        assert bench.clock.monotonic_s() - began_s < grace_s + commit_s + 2
        assert begun == 3, "what the two were to settle was tried once more"


async def test_promise_9_a_stop_does_not_wait_for_a_broker_that_does_not_answer_settles() -> None:
    async with running_pump() as bench:
        bench.source.settles.clear()
        bench.broker.append(b"one")
        await bench.until_settled(1)
        stopping = asyncio.create_task(bench.pump.stop(grace_s=1))
        await bench.clock.run_until(stopping.done, step_s=0.01)
        assert 1 < bench.clock.monotonic_s() < 1 + LAST_SETTLE_ROOM_S + 1
        assert bench.broker.committed == {}
