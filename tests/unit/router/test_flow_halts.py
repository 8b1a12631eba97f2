"""A halt of a whole flow is written into the registry's log, and holds until somebody resumes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from catalog.catalog import Catalog
from catalog.events import FlowPaused, GiveUp
from kernel.errors import TimedOut, Unavailable, VersionConflict
from router.adapters.memory_broker import MemoryBroker
from router.application.flow_halts import FlowHalt, FlowHalts
from router.domain.flow_spec import FlowSpec
from router.domain.outcome import OutcomeKind, failed
from router.domain.retry_policy import RetryPolicy, RetryRule
from router.domain.run_mode import RunMode
from router.domain.status import PumpState

from tests.support.event_log import EventLog
from tests.support.manual_clock import ManualClock, let_others_run, until
from tests.support.router_flows import SUBSCRIBER
from tests.support.router_pumps import BROKEN, HighestJitter, running_pump

RULE = RetryRule(failure=OutcomeKind.ALGORITHM_ERROR, attempts_max=1, give_up=GiveUp.HALT_FLOW)


class Registry:
    """The log, whoever reads it, and whoever pauses flows in it."""

    def __init__(self) -> None:
        self.log = EventLog()
        self.log.account("acme")
        self.log.algorithm("acme/Digits", "1.0.0")
        self.log.connection("cluster")
        self.flow_id = self.log.subscribe("cluster", "topic", "acme/Digits")
        self.read = self.log.catalog()
        self.away = False
        self.behind = False
        self.answers = asyncio.Event()
        self.answers.set()
        self.calls = 0

    @property
    def catalog(self) -> Catalog:
        """What this worker has read."""
        return self.read

    def tell(self) -> None:
        self.read = self.log.catalog()

    async def wait_for(self, position: int, *, timeout_s: float) -> None:
        if self.behind:
            raise TimedOut("the catalog is behind")
        self.tell()

    async def pause(self, flow_id: str, *, reason: str, stream_version: int) -> int:
        self.calls += 1
        await self.answers.wait()
        if self.away:
            raise Unavailable("the registry is away")
        if stream_version != self.log.version(flow_id):
            raise VersionConflict("it is at another version")
        self.log.pause(flow_id, reason=reason)
        return len(self.log.recorded)

    @property
    def pauses(self) -> list[str]:
        events = (recorded.event for recorded in self.log.recorded)
        return [event.reason for event in events if isinstance(event, FlowPaused)]

    @property
    def spec(self) -> FlowSpec:
        return replace(SUBSCRIBER, flow_id=self.flow_id, retries=RetryPolicy(rules=(RULE,)))

    @property
    def resumed_position(self) -> int:
        flow = self.read.flow(self.flow_id)
        assert flow is not None
        return flow.resumed_position


@asynccontextmanager
async def halts_of(registry: Registry, clock: ManualClock) -> AsyncIterator[FlowHalts]:
    halts = FlowHalts(feed=registry, pauses=registry, clock=clock, random=HighestJitter())
    running = asyncio.create_task(halts.run())
    try:
        yield halts
    finally:
        running.cancel()
        await asyncio.wait({running})


def halt(resumed_position: int = 0) -> FlowHalt:
    return FlowHalt(reason="bad input", noted="halted", resumed_position=resumed_position)


async def test_a_halt_of_the_flow_is_a_pause_in_the_log_without_the_message() -> None:
    registry = Registry()
    async with (
        halts_of(registry, ManualClock()) as halts,
        running_pump(registry.spec, halts=halts) as bench,
    ):
        bench.target.answers[b"bad"].append(BROKEN)
        bench.broker.append(b"bad", key=b"a")
        await until(lambda: registry.pauses)
        assert registry.pauses == [
            "halted by its own rule at partition 0, offset 0: algorithm_error InputError"
        ]
        bench.pump.steer(RunMode.PAUSED, 0)
        await bench.until_state(PumpState.PAUSED)
        assert "bad input" in bench.pump.status().reason, "who looks now sees more"
        bench.broker.append(b"other", key=b"b")
        registry.log.resume(registry.flow_id)
        registry.tell()
        bench.pump.steer(RunMode.RUNNING, registry.resumed_position)
        await bench.until_committed(2)
        assert bench.target.values == [b"bad", b"bad", b"other"]


async def test_what_the_log_keeps_of_a_halt_is_one_short_line() -> None:
    registry, kind = Registry(), OutcomeKind.ALGORITHM_ERROR
    async with (
        halts_of(registry, ManualClock()) as halts,
        running_pump(registry.spec, halts=halts) as bench,
    ):
        bench.target.answers[b"bad"].append(failed(kind, "bad", error_type="two\nlines" * 100))
        bench.broker.append(b"bad", key=b"a")
        await until(lambda: registry.pauses)
    assert registry.pauses[0].isprintable()
    assert len(registry.pauses[0]) <= 255


async def test_a_halted_flow_stays_halted_under_a_new_pump_while_the_registry_is_away() -> None:
    registry, broker, clock = Registry(), MemoryBroker(), ManualClock()
    registry.away = True
    async with halts_of(registry, clock) as halts:
        async with running_pump(registry.spec, broker=broker, halts=halts) as bench:
            bench.target.answers[b"bad"].append(BROKEN)
            broker.append(b"bad", key=b"a")
            await bench.until_state(PumpState.HALTED)
            broker.append(b"other", key=b"b")
            await bench.pump.stop(grace_s=1.0)
        async with running_pump(registry.spec, broker=broker, halts=halts) as bench:
            bench.pump.steer(RunMode.RUNNING, registry.resumed_position)
            await bench.until_state(PumpState.HALTED)
            await bench.clock.run_until(lambda: bench.source.polls > 2)
            assert bench.target.values == []
            registry.away = False
            await clock.run_until(lambda: registry.pauses)
            assert len(registry.pauses) == 1
            registry.log.resume(registry.flow_id)
            registry.tell()
            bench.pump.steer(RunMode.RUNNING, registry.resumed_position)
            await bench.until_committed(2)
            assert halts.of(registry.flow_id) is None


async def test_a_flow_that_halts_while_its_pump_drains_is_halted_under_the_next_one() -> None:
    registry, broker = Registry(), MemoryBroker()
    registry.away = True
    async with halts_of(registry, ManualClock()) as halts:
        async with running_pump(registry.spec, broker=broker, halts=halts) as bench:
            bench.target.hold(b"bad")
            bench.target.answers[b"bad"].append(BROKEN)
            broker.append(b"bad", key=b"a")
            await bench.target.until_runs(1)
            stopping = asyncio.create_task(bench.pump.stop(grace_s=5.0))
            await until(lambda: bench.pump.status().state is PumpState.DRAINING)
            await bench.target.let_go(b"bad")
            await stopping
        broker.append(b"other", key=b"b")
        async with running_pump(registry.spec, broker=broker, halts=halts) as bench:
            await bench.until_state(PumpState.HALTED)
            assert bench.target.values == []


async def test_a_registry_that_is_away_is_asked_again_after_longer_and_longer_pauses() -> None:
    registry, clock = Registry(), ManualClock()
    registry.away = True
    async with halts_of(registry, clock) as halts:
        halts.begin(registry.flow_id, halt())
        for wait_s in (0.2, 0.4, 0.8):
            await until(clock.waits)
            assert clock.waits() == [pytest.approx(wait_s)]
            clock.advance(wait_s)
            await until(lambda: not clock.waits())
        assert registry.calls == 3


async def test_a_resume_that_this_worker_has_not_heard_of_yet_wins_over_the_halt() -> None:
    registry, clock = Registry(), ManualClock()
    async with halts_of(registry, clock) as halts:
        registry.log.resume(registry.flow_id)
        halts.begin(registry.flow_id, halt())
        await until(lambda: registry.calls)
        assert halts.of(registry.flow_id) is not None, "as far as we know"
        registry.tell()
        await clock.run_until(lambda: not clock.waits())
        assert halts.of(registry.flow_id) is None
        assert (registry.calls, registry.pauses) == (1, [])


async def test_a_flow_that_is_paused_or_disabled_is_not_paused_because_of_a_halt() -> None:
    registry = Registry()
    async with halts_of(registry, ManualClock()) as halts:
        registry.log.pause(registry.flow_id, reason="by hand")
        registry.tell()
        halts.begin(registry.flow_id, halt())
        await let_others_run()
        assert halts.of(registry.flow_id) == halt(), "a resume ends both"
        registry.log.disable(registry.flow_id)
        registry.tell()
        halts.begin(registry.flow_id, halt())
        await let_others_run()
        assert halts.of(registry.flow_id) is None
    assert (registry.calls, registry.pauses) == (0, ["by hand"])


async def test_a_pause_that_the_registry_took_is_not_asked_for_twice_by_a_late_catalog() -> None:
    registry, clock = Registry(), ManualClock()
    registry.behind = True
    async with halts_of(registry, clock) as halts:
        halts.begin(registry.flow_id, halt())
        await until(clock.waits)
        clock.advance(1)
        await until(lambda: registry.calls == 2)
        registry.tell()
        await clock.run_until(lambda: not clock.waits())
    assert (registry.calls, registry.pauses) == (2, ["halted"])


async def test_a_flow_that_halts_anew_while_the_registry_hears_of_another_stays_halted() -> None:
    registry = Registry()
    other = registry.log.subscribe("cluster", "other", "acme/Digits")
    registry.tell()
    async with halts_of(registry, ManualClock()) as halts:
        registry.answers.clear()
        halts.begin(registry.flow_id, halt())
        halts.begin(other, halt())
        await until(lambda: registry.calls == 1)
        registry.log.resume(other)
        registry.tell()
        assert halts.of(other) is None
        again = halt(len(registry.log.recorded))
        halts.begin(other, again)
        registry.answers.set()
        await until(lambda: len(registry.pauses) == 2)
        assert halts.of(other) == again
