"""What the flows of a worker share: open calls, bytes held, the event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from router.adapters.memory_source import MemorySource
from router.application.budget import Share, WorkerBudget
from router.application.calls_in_turn import CallsInTurn
from router.application.limits import PumpLimits
from router.domain.delivery import RECORD_HELD_BYTES, Run
from router.domain.outcome import SUCCEEDED, Outcome

from tests.support.manual_clock import let_others_run, until
from tests.support.router_flows import SUBSCRIBER
from tests.support.router_pumps import Bench, Joiner, running_pump

HELD_BYTES = RECORD_HELD_BYTES + len(b"0123456789")


@asynccontextmanager
async def two_pumps(
    budget: WorkerBudget, limits: PumpLimits | None = None
) -> AsyncIterator[tuple[Bench, Bench]]:
    """Two flows of one worker."""
    limits = limits or PumpLimits(receive_wait_s=0.001)
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(running_pump(budget=budget, limits=limits)),
            await stack.enter_async_context(
                running_pump(replace(SUBSCRIBER, flow_id="flow-2"), budget=budget, limits=limits)
            ),
        )


async def test_promise_5_a_flow_that_has_all_calls_gives_way_to_the_others() -> None:
    budget = WorkerBudget(calls_open_max=4)
    async with two_pumps(budget) as (first, second):
        values = [b"%d" % number for number in range(20)]
        first.target.hold(*values)
        second.target.hold(*values)
        for value in values:
            first.broker.append(value)
        await first.target.until_runs(4)
        for value in values:
            second.broker.append(value)
        await until(lambda: budget.waiting)
        await let_others_run()
        assert (first.pump.status().in_flight, second.pump.status().in_flight) == (4, 0)
        await first.target.let_go(*values[:4])
        await second.target.until_runs(2)
        await let_others_run()
        assert (first.pump.status().in_flight, second.pump.status().in_flight) == (2, 2)
        await first.target.let_go(*values)
        await second.target.let_go(*values)
        await first.until_settled(20)
        await second.until_settled(20)
        await until(lambda: budget.calls_open == 0)


async def test_promise_5_flows_that_fight_for_few_calls_all_get_on() -> None:
    budget = WorkerBudget(calls_open_max=3)
    async with two_pumps(budget) as (first, second):
        for number in range(60):
            first.broker.append(b"%d" % number)
            second.broker.append(b"%d" % number)
        await first.until_settled(60)
        await second.until_settled(60)
        assert first.target.at_once_max <= 3
        await until(lambda: budget.calls_open == 0)


async def test_promise_5_a_flow_that_holds_too_much_leaves_the_others_their_bytes() -> None:
    budget = WorkerBudget(bytes_held_max=10 * HELD_BYTES)
    limits = PumpLimits(receive_wait_s=0.001, receive_records_max=1)
    async with two_pumps(budget, limits) as (first, second):
        first.target.hold(b"0123456789")
        for _ in range(20):
            first.broker.append(b"0123456789", key=b"")
        await until(lambda: budget.bytes_held >= 10 * HELD_BYTES)
        polls = first.source.polls
        await until(lambda: first.source.polls > polls + 5)
        assert first.pump.status().bytes_held == 10 * HELD_BYTES, "paused, and still polled"
        for _ in range(20):
            second.broker.append(b"0123456789", key=b"")
        await second.until_settled(20)
        await first.target.let_go(b"0123456789")
        await first.until_settled(20)


async def test_promise_5_a_pump_that_ends_gives_everything_back() -> None:
    budget = WorkerBudget()
    async with running_pump(budget=budget) as bench:
        bench.target.hold(b"one", b"two")
        bench.broker.append(b"one")
        bench.broker.append(b"two")
        await bench.target.until_runs(2)
        await until(lambda: budget.bytes_held == 2 * (RECORD_HELD_BYTES + 3))
        assert budget.calls_open == 2
    assert (budget.calls_open, budget.bytes_held) == (0, 0)


async def test_promise_5_what_ends_late_takes_nothing_from_what_came_after_it() -> None:
    budget = WorkerBudget()
    async with running_pump(budget=budget) as bench:
        bench.target.hold(b"one")
        bench.broker.append(b"one")
        await bench.target.until_runs(1)
        old = bench.pump._session.assignment
        assert old is not None
        other = MemorySource(bench.broker)
        joining = asyncio.create_task(other.open(Joiner()))
        await bench.clock.run_until(joining.done)
        await other.close()
        await bench.target.until_runs(2)
        await until(lambda: budget.bytes_held == RECORD_HELD_BYTES + 3)
        old.abandon()  # as a settle does that is refused after the next assignment has begun
        assert budget.bytes_held == RECORD_HELD_BYTES + 3


async def test_promise_5_a_flow_that_ends_while_it_waits_takes_no_part_any_more() -> None:
    budget = WorkerBudget(calls_open_max=2)
    async with two_pumps(budget) as (first, second):
        first.target.hold(b"0", b"1")
        for number in range(4):
            first.broker.append(b"%d" % number)
        await first.target.until_runs(2)
        second.broker.append(b"late")
        await until(lambda: len(budget.waiting) == 2)
        await second.pump.stop(grace_s=1)
        assert len(budget.waiting) == 1
        assert budget.fair_calls == 2, "the first one is alone again"
        assert second.target.runs == []
        await first.target.let_go(b"0", b"1")
        await first.until_settled(4)


async def test_promise_5_a_flow_whose_target_answers_at_once_leaves_others_the_event_loop() -> None:
    async with running_pump(replace(SUBSCRIBER, concurrency_max=1)) as bench:
        calls = 0

        async def at_once(run: Run) -> Outcome:
            nonlocal calls
            calls += 1
            return SUCCEEDED

        bench.target.invoke = at_once  # type: ignore[method-assign]
        for number in range(400):
            bench.broker.append(b"%d" % number)
        turns = 0
        while calls < 400:
            before = calls
            await asyncio.sleep(0)
            assert calls - before <= 100, "so many at most between two turns of everybody else"
            turns += 1
        assert turns >= 400 // 100


async def test_promise_5_a_redrive_has_its_part_of_the_calls_that_a_flow_could_use_all() -> None:
    budget = WorkerBudget(calls_open_max=4)
    calls = CallsInTurn(budget)
    attempts = 0

    async def redrive() -> None:
        nonlocal attempts
        while True:
            async with calls.one():
                attempts += 1
                await asyncio.sleep(0)

    async def invoke(run: Run) -> Outcome:
        await asyncio.sleep(0)
        return SUCCEEDED

    async with running_pump(budget=budget) as bench:
        bench.target.invoke = invoke  # type: ignore[method-assign]
        for number in range(1_000):
            bench.broker.append(b"%d" % number)
        await until(lambda: budget.calls_open == 4)
        redrives = [asyncio.create_task(redrive()) for _ in range(8)]
        await bench.until_settled(1_000)
        part = attempts / (attempts + 1_000)
        for each in redrives:
            each.cancel()
        await asyncio.wait(redrives)
    assert part > 0.2, "half the calls; each takes it two turns of the event loop, the flow one"
    assert (budget.calls_open, len(budget.waiting)) == (0, 0)


async def test_promise_5_a_call_for_one_that_was_broken_off_goes_to_the_next_or_back() -> None:
    budget = WorkerBudget(calls_open_max=1)
    rival, calls = budget.share(lambda: None), CallsInTurn(budget)
    let_go = asyncio.Event()

    async def attempt() -> None:
        async with calls.one():
            await let_go.wait()

    assert rival.take_call()
    early, late, last = [asyncio.create_task(attempt()) for _ in range(3)]
    await let_others_run()
    early.cancel()
    rival.free_call()  # it cannot be early's any more, and is late's
    late.cancel()
    await asyncio.wait({early, late})
    await let_others_run()
    assert (budget.calls_open, last.done()) == (1, False), "the last one has it"
    let_go.set()
    await last
    assert (early.cancelled(), late.cancelled()) == (True, True)
    assert (budget.calls_open, len(budget.waiting)) == (0, 0)


class Flow:
    """A share with things to do, which takes calls as a pump does."""

    def __init__(self, budget: WorkerBudget) -> None:
        self.share: Share = budget.share(self.take)
        self.wanted = 0

    def take(self) -> None:
        while self.wanted and self.share.take_call():
            self.wanted -= 1

    def end_one(self) -> None:
        """A call ends; its slot goes on, unless it has to give way."""
        if self.wanted and not self.share.gives_way:
            self.wanted -= 1
            return
        self.share.free_call()
        self.take()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), max_size=60),
)
def test_promise_5_calls_are_never_too_many_and_nobody_waits_while_one_is_free(
    calls_open_max: int, steps: list[tuple[int, int]]
) -> None:
    budget = WorkerBudget(calls_open_max=calls_open_max)
    flows = [Flow(budget) for _ in range(4)]
    for number, more in steps:
        flow = flows[number]
        if more:
            flow.wanted += more
            flow.take()
        elif flow.share.calls:
            flow.end_one()
        assert budget.calls_open == sum(each.share.calls for each in flows) <= calls_open_max
        if budget.calls_open < calls_open_max:
            assert not any(each.wanted for each in flows)
    for _ in range(1_000):
        for flow in flows:
            if flow.share.calls:
                flow.end_one()
    assert budget.calls_open == 0
    assert not any(flow.wanted for flow in flows), "everybody gets a turn in the end"


@given(st.integers(1, 4), st.integers(1, 32))
def test_promise_5_flows_that_want_everything_get_equal_parts(
    flows_count: int, calls_open_max: int
) -> None:
    budget = WorkerBudget(calls_open_max=calls_open_max)
    flows = [Flow(budget) for _ in range(flows_count)]
    for flow in flows:
        flow.wanted = 10_000
        flow.take()
    for _ in range(100):
        for flow in flows:
            for _ in range(flow.share.calls):
                flow.end_one()
    parts = [flow.share.calls for flow in flows]
    if calls_open_max >= flows_count:
        assert max(parts) - min(parts) <= calls_open_max % flows_count
    assert sum(parts) == calls_open_max
