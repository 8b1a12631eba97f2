"""Pumps that join, leave, die, pause and fail at random lose nothing and break no order."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import pytest
from catalog.events import DeliveryOrder
from router.adapters.memory_broker import MemoryBroker
from router.adapters.memory_dead_letters import MemoryDeadLetters
from router.adapters.memory_source import MemorySource
from router.application.budget import WorkerBudget
from router.application.limits import PumpLimits
from router.application.pump import Pump
from router.domain.delivery import Delivery, Run
from router.domain.outcome import SUCCEEDED, Outcome, OutcomeKind, failed
from router.domain.run_mode import RunMode

from tests.support.manual_clock import ManualClock
from tests.support.router_flows import SUBSCRIBER, KnownHistory
from tests.support.router_pumps import BROKEN, UNREACHABLE

PARTITIONS = 3
KEYS = [None, b"a", b"b", b"c", b"d"]
RECORDS = 150
STEPS = 400
OUTCOMES = [
    *[SUCCEEDED] * 12,
    UNREACHABLE,
    failed(OutcomeKind.OVERLOADED, "later", retry_after_s=1.0),
    BROKEN,
]
LIMITS = PumpLimits(
    receive_wait_s=0.001,
    receive_records_max=7,
    records_held_max=30,
    span_records_max=15,
    commit_records_max=4,
    drain_s=1.0,
)


class World:
    """A broker, a checker that every target reports to, and the pumps of the moment."""

    def __init__(self, seed: int, order: DeliveryOrder) -> None:
        self.random = random.Random(seed)
        self.order = order
        self.clock = ManualClock()
        self.broker = MemoryBroker(partitions=PARTITIONS)
        self.budget = WorkerBudget(calls_open_max=9)
        self.letters = MemoryDeadLetters()
        self.pumps: list[tuple[Pump, asyncio.Task[None]]] = []
        self.sources: dict[Pump, MemorySource] = {}
        self.appended = 0
        self.begun: set[tuple[int, int]] = set()
        self.succeeded: set[tuple[int, int]] = set()
        self.lanes: dict[object, list[int]] = defaultdict(list)
        self.running: dict[object, set[int]] = defaultdict(set)

    async def invoke(self, run: Run) -> Outcome:
        """Port `Target`: takes a while and comes to anything."""
        delivery = run.delivery
        place, lane = (delivery.partition, delivery.offset), self.lane_of(delivery)
        with self._in_lane(lane, delivery.offset):
            await self.clock.sleep(self.random.uniform(0, 0.5))
            outcome = self.random.choice(OUTCOMES)
            if outcome is SUCCEEDED:
                self.succeeded.add(place)
            return outcome

    async def close(self) -> None:
        """Nothing is held."""

    def lane_of(self, delivery: Delivery) -> object:
        if self.order is DeliveryOrder.PARTITION:
            return delivery.partition
        if self.order is DeliveryOrder.NONE or delivery.key is None:
            return delivery.partition, delivery.offset
        return delivery.partition, delivery.key

    @property
    def done(self) -> set[tuple[int, int]]:
        letters = {(each.delivery.partition, each.delivery.offset) for each in self.letters.letters}
        return self.succeeded | letters

    @contextmanager
    def _in_lane(self, lane: object, offset: int) -> Iterator[None]:
        assert not self.running[lane], "two of one lane at the same time"
        partition = lane if isinstance(lane, int) else lane[0]  # type: ignore[index]
        before = {(partition, each) for each in self.lanes[lane] if each < offset}
        assert before <= self.done, "overtook one that is not done"
        newest = max(self.lanes[lane], default=-1)
        first_time = (partition, offset) not in self.begun
        assert not first_time or offset > newest, "an order break"
        self.begun.add((partition, offset))
        self.lanes[lane].append(offset)
        self.running[lane].add(offset)
        try:
            yield
        finally:
            self.running[lane].discard(offset)

    def append(self) -> None:
        self.appended += 1
        self.broker.append(
            b"%d" % self.appended,
            key=self.random.choice(KEYS),
            partition=self.random.randrange(PARTITIONS),
            gap=self.random.choice([0, 0, 0, 2]),
        )

    def start(self) -> None:
        source = MemorySource(self.broker)
        pump = Pump(
            replace(SUBSCRIBER, order=self.order, concurrency_max=5),
            source=source,
            target=self,
            dead_letters=self.letters,
            clock=self.clock,
            random=self.random,
            limits=LIMITS,
            history=KnownHistory(),
            fence=lambda: True,
            budget=self.budget,
        )
        self.sources[pump] = source
        self.pumps.append((pump, asyncio.create_task(pump.run())))

    async def end_one(self, *, kill: bool) -> None:
        pump, task = self.pumps.pop(self.random.randrange(len(self.pumps)))
        ending = task if kill else asyncio.create_task(pump.stop(grace_s=1))
        if kill:
            task.cancel()
        await self.clock.run_until(ending.done)
        if not task.cancelled():
            await task  # raises what a target's check has raised

    def steer_one(self) -> None:
        pump, _ = self.random.choice(self.pumps)
        pump.steer(self.random.choice(list(RunMode)), 0)

    async def expire_one(self) -> None:
        pump, _ = self.random.choice(self.pumps)
        expiring = asyncio.create_task(self.broker.expire(self.sources[pump]))
        await self.clock.run_until(expiring.done)

    def trouble(self) -> None:
        """The broker goes away or comes back, or refuses some settles."""
        if self.broker.away is not None or self.random.random() < 0.3:
            self.broker.away = None if self.broker.away else "gone"
        else:
            self.sources[self.random.choice(self.pumps)[0]].settle_failures += 2

    async def step(self) -> None:
        """Something happens."""
        chance = self.random.random()
        if chance < 0.5 and self.appended < RECORDS:
            self.append()
        elif chance < 0.52 and len(self.pumps) < 3:
            self.start()
        elif chance < 0.54 and len(self.pumps) > 1:
            await self.end_one(kill=self.random.random() < 0.5)
        elif chance < 0.56:
            self.steer_one()
        elif chance < 0.57:
            await self.expire_one()
        elif chance < 0.59:
            self.trouble()
        self.clock.advance(self.random.choice([0, 0.01, 0.1]))
        await asyncio.sleep(0)


@asynccontextmanager
async def a_world(seed: int, order: DeliveryOrder) -> AsyncIterator[World]:
    world = World(seed, order)
    world.start()
    try:
        yield world
    finally:
        for _, task in world.pumps:
            task.cancel()
        await asyncio.wait({task for _, task in world.pumps})


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("order", [o for o in DeliveryOrder if o is not DeliveryOrder.UNSPECIFIED])
async def test_promise_1_nothing_is_lost_and_no_order_broken_whatever_happens(
    seed: int, order: DeliveryOrder
) -> None:
    async with a_world(seed, order) as world:
        for _ in range(STEPS):
            await world.step()
        while world.appended < RECORDS:
            world.append()
        world.broker.away = None
        for pump, _ in world.pumps:
            pump.steer(RunMode.RUNNING, 1)
        ends = dict(enumerate(world.broker.ends))
        await world.clock.run_until(lambda: world.broker.committed == ends, step_s=0.2)
        expected = {
            (partition, offset) for partition, log in enumerate(world.broker.log) for offset in log
        }
        assert world.done == expected
        for _, task in world.pumps:
            assert not task.done(), "no pump has ended by itself"
