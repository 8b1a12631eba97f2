"""Pause, drain and resume: effective at once, and they outlive assignments."""

from router.adapters.memory_broker import MemoryBroker
from router.adapters.memory_source import MemorySource
from router.domain.run_mode import RunMode
from router.domain.status import PumpState

from tests.support.manual_clock import let_others_run, until
from tests.support.router_pumps import UNREACHABLE, Joiner, running_pump


async def test_promise_9_a_pause_starts_no_call_and_settles_those_that_run() -> None:
    async with running_pump() as bench:
        bench.target.hold(b"running")
        bench.broker.append(b"running", key=b"k")
        bench.broker.append(b"behind", key=b"k")
        await bench.target.until_runs(1)
        bench.pump.steer(RunMode.PAUSED, 0)
        assert bench.pump.status().state is PumpState.DRAINING
        bench.broker.append(b"later")
        await bench.target.let_go(b"running")
        await bench.until_state(PumpState.PAUSED)
        await bench.until_committed(1)
        assert bench.target.values == [b"running"]
        bench.pump.steer(RunMode.RUNNING, 0)
        await bench.until_committed(3)
        assert bench.target.values == [b"running", b"behind", b"later"]
        assert bench.pump.status().state is PumpState.RUNNING


async def test_promise_9_a_paused_flow_goes_on_polling_and_measures_its_lag() -> None:
    async with running_pump(mode=RunMode.PAUSED) as bench:
        await until(lambda: bench.pump.status().partitions == 1)
        assert bench.pump.status().state is PumpState.PAUSED
        for number in range(7):
            bench.broker.append(b"%d" % number)
        polls = bench.source.polls
        await bench.clock.run_until(lambda: bench.pump.status().lag_records == 7)
        await until(lambda: bench.source.polls > polls + 2)
        assert bench.target.runs == []
        assert bench.pump.status().bytes_held == 0, "nothing is received either"
        bench.pump.steer(RunMode.RUNNING, 0)
        await bench.until_settled(7)


async def test_promise_9_a_pause_holds_what_backs_off() -> None:
    async with running_pump() as bench:
        bench.target.answers[b"ill"].append(UNREACHABLE)
        bench.broker.append(b"ill")
        await until(lambda: bench.pump.status().resting == 1)
        bench.pump.steer(RunMode.PAUSED, 0)
        assert bench.pump.status().state is PumpState.PAUSED
        bench.clock.advance(60)
        await let_others_run()
        assert len(bench.target.runs) == 1
        bench.pump.steer(RunMode.RUNNING, 0)
        await bench.until_settled(1)


async def test_promise_9_a_drain_finishes_what_was_received_and_receives_nothing_more() -> None:
    async with running_pump() as bench:
        bench.target.hold(b"running")
        bench.target.answers[b"ill"].append(UNREACHABLE)
        bench.broker.append(b"running", key=b"k")
        bench.broker.append(b"behind", key=b"k")
        bench.broker.append(b"ill")
        await bench.target.until_runs(2)
        bench.pump.steer(RunMode.DRAINED, 0)
        bench.broker.append(b"later")
        await bench.target.let_go(b"running")
        await let_others_run()
        assert bench.pump.status().state is PumpState.DRAINING, "one still backs off"
        await bench.until_committed(3)
        await bench.until_state(PumpState.PAUSED)
        assert bench.target.values == [b"running", b"ill", b"behind", b"ill"]
        bench.pump.steer(RunMode.RUNNING, 0)
        await bench.until_committed(4)


async def test_promise_9_a_pause_outlives_a_new_assignment() -> None:
    for mode in (RunMode.PAUSED, RunMode.DRAINED):
        broker = MemoryBroker(partitions=2)
        async with running_pump(broker=broker) as bench:
            await bench.until_state(PumpState.RUNNING)
            bench.pump.steer(mode, 0)
            second = MemorySource(broker)
            await second.open(Joiner())
            broker.append(b"one")
            await let_others_run()
            assert bench.target.runs == []
            assert bench.pump.status().state is PumpState.PAUSED
            bench.pump.steer(RunMode.RUNNING, 0)
            await bench.until_settled(1)
            await second.close()


async def test_promise_9_a_pause_outlives_the_loss_of_the_broker() -> None:
    async with running_pump(mode=RunMode.PAUSED) as bench:
        await until(lambda: bench.source.opened == 1)
        bench.broker.away = "gone"
        await let_others_run()
        bench.broker.away = None
        bench.broker.append(b"one")
        await bench.clock.run_until(lambda: bench.source.opened == 2)
        await let_others_run()
        assert bench.target.runs == []
        bench.pump.steer(RunMode.RUNNING, 0)
        await bench.until_settled(1)


async def test_promise_9_a_paused_flow_can_be_stopped() -> None:
    async with running_pump(mode=RunMode.PAUSED) as bench:
        await until(lambda: bench.pump.status().partitions == 1)
        await bench.pump.stop(grace_s=1)
        assert bench.pump.status().state is PumpState.STOPPED
