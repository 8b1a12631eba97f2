"""Nothing is settled before its outcome is durable."""

from router.adapters.memory_broker import MemoryBroker
from router.domain.low_water import Mark
from router.domain.status import PumpState

from tests.support.manual_clock import let_others_run
from tests.support.router_pumps import running_pump


async def test_promise_1_nothing_is_settled_before_its_outcome_is_durable() -> None:
    async with running_pump() as bench:
        bench.target.hold(b"slow")
        bench.broker.append(b"slow", key=b"a")
        bench.broker.append(b"quick", key=b"b")
        await bench.until_settled(1)
        bench.clock.advance(5)
        await let_others_run()
        assert bench.broker.commits == [{0: Mark(position=0, finished=((1, 1),))}]
        await bench.target.let_go(b"slow")
        await bench.until_committed(2)


async def test_promise_1_a_killed_pump_loses_nothing() -> None:
    broker = MemoryBroker()
    async with running_pump(broker=broker) as killed:
        killed.target.hold(b"1")
        for number in range(3):
            broker.append(str(number).encode(), key=str(number).encode())
        await killed.until_settled(2)
    assert broker.committed == {}
    async with running_pump(broker=broker) as bench:
        await bench.until_settled(3)
        assert bench.target.values == [b"0", b"1", b"2"]
        await bench.until_committed(3)


async def test_promise_1_a_failed_settle_is_repeated() -> None:
    async with running_pump() as bench:
        bench.broker.append(b"one")
        await bench.until_settled(1)
        bench.source.settle_failures = 2
        await bench.clock.run_until(
            lambda: bench.pump.status().state is PumpState.BACKING_OFF, step_s=0.25
        )
        assert "commit" in bench.pump.status().reason
        await bench.until_committed(1)
        await bench.until_state(PumpState.RUNNING)
