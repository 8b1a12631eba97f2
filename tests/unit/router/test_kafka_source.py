"""How the source of a topic ends, although no Kafka answers. What it reads: tests/ports/source."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from kernel.errors import Unavailable
from router.adapters.kafka_consumer import GroupTimes
from router.adapters.kafka_positions import KafkaPositions
from router.adapters.kafka_source import KafkaSource
from router.adapters.memory_dead_letters import MemoryDeadLetters
from router.adapters.memory_positions import MemoryPositions, Store
from router.adapters.memory_target import MemoryTarget
from router.application.budget import WorkerBudget
from router.application.flow_keeper import FlowKeeper
from router.application.limits import DRAIN_S, JOIN_ROOM_S, SOURCE_CLOSE_MAX_S, PumpLimits
from router.application.pump import Pump
from router.domain.beginning import Place
from router.domain.delivery import Delivery
from router.domain.flow_spec import FlowSpec
from router.domain.kafka_connection import KafkaConnection
from router.domain.lag import Lag
from router.domain.low_water import Mark
from router.domain.run_mode import Steering
from router.domain.status import PumpState, PumpStatus
from router.ports import AssignmentListener, Clock, Positions

from tests.support.jumping_loop import JumpingClock, run_in_jumps
from tests.support.manual_clock import until
from tests.support.router_flows import SUBSCRIBER, KnownHistory, delivery
from tests.support.router_pumps import HighestJitter, Joiner

CONNECTION = KafkaConnection(connection_id="c-1", bootstrap_servers=("127.0.0.1:9",))


async def never() -> None:
    """What a frozen broker answers."""
    await asyncio.Event().wait()


class FrozenPositions(MemoryPositions):
    """Those of a worker whose own Kafka is frozen."""

    async def flush(self) -> None:
        await never()


class FrozenConsumer:
    """aiokafka's, of a broker that is frozen: its goodbye does not end by itself."""

    def __init__(self) -> None:
        self.is_alive = True
        self.goodbyes = 0
        self._coordinator = SimpleNamespace()
        self._fetcher = SimpleNamespace()
        self._client = self

    async def stop(self) -> None:
        self.goodbyes += 1
        await never()

    async def close(self) -> None:
        """Of its client, with the sockets; under TLS that waits for the broker as well."""
        self.is_alive = False
        await never()


class FrozenSource(KafkaSource):
    """A member of a group that was given two records before every broker froze."""

    def __init__(self, *, clock: Clock, positions: Positions | None = None) -> None:
        super().__init__(
            SUBSCRIBER,
            connection=CONNECTION,
            clock=clock,
            positions=positions or FrozenPositions(),
        )
        self.consumer = FrozenConsumer()
        self._records = [delivery(0), delivery(1)]

    async def open(self, listener: AssignmentListener) -> None:
        consumer: Any = self.consumer
        membership: Any = SimpleNamespace()
        fetches: Any = SimpleNamespace(let_go=lambda: None)
        self._consumer, self._fetches, self._listener = consumer, fetches, listener
        self._positions = KafkaPositions(
            self._spec.source,
            consumer=consumer,
            membership=membership,
            memory=self._memory,
            identity=None,
        )
        listener.on_assigned({0: Mark(position=0)}, epoch=1)

    async def receive(self, *, wait_s: float, records_max: int) -> Sequence[Delivery]:
        if not self._records:
            await asyncio.sleep(wait_s)
        records, self._records = self._records, []
        return records

    async def settle(self, marks: Mapping[int, Mark], *, epoch: int) -> int:
        await never()
        return 0

    def holds(self, *, epoch: int) -> bool:
        return True

    async def lag(self, positions: Mapping[int, int]) -> Lag:
        raise Unavailable("frozen")


def pump_of(source: FrozenSource, clock: Clock) -> Pump:
    """A pump that has a record to settle, and a call that does not end."""
    target = MemoryTarget()
    target.hold(b"value-1")
    return Pump(
        SUBSCRIBER,
        source=source,
        target=target,
        dead_letters=MemoryDeadLetters(),
        clock=clock,
        random=HighestJitter(),
        limits=PumpLimits(),
        history=KnownHistory(),
        fence=lambda: True,
        budget=WorkerBudget(),
    )


def is_busy(status: PumpStatus) -> bool:
    return (status.settled_total, status.in_flight) == (1, 1)


def test_a_stop_that_takes_its_full_time_leaves_no_member_of_the_group(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Calls, settles, our own Kafka and the goodbye: all take as long as they may."""

    async def stop_a_flow() -> FrozenSource:
        clock = JumpingClock()
        source = FrozenSource(clock=clock)

        async def open_pump(_: FlowSpec) -> Pump:
            return pump_of(source, clock)

        keeper = FlowKeeper(
            SUBSCRIBER,
            steering=Steering(),
            open_pump=open_pump,
            clock=clock,
            random=HighestJitter(),
            grace_s=DRAIN_S,
        )
        keeping = asyncio.create_task(keeper.run())
        await until(lambda: is_busy(keeper.status()))
        keeper.want(None)
        await keeping
        assert keeper.status().state is PumpState.STOPPED
        return source

    source = run_in_jumps(stop_a_flow())
    assert source.consumer.goodbyes == 1
    assert not source.consumer.is_alive
    assert "did not stop in time" not in caplog.text


@pytest.mark.parametrize("after_s", [0.0, SOURCE_CLOSE_MAX_S / 3, SOURCE_CLOSE_MAX_S * 2 / 3])
def test_a_close_that_is_cancelled_leaves_no_member_of_the_group(after_s: float) -> None:
    async def cancel_a_close() -> FrozenSource:
        source = FrozenSource(clock=JumpingClock())
        await source.open(Joiner())
        closing = asyncio.create_task(source.close())
        for _ in range(2):
            await asyncio.sleep(after_s / 2)
            closing.cancel()
        await asyncio.wait({closing})
        assert closing.cancelled()
        await source.close()
        assert asyncio.get_running_loop().time() <= SOURCE_CLOSE_MAX_S
        return source

    assert not run_in_jumps(cancel_a_close()).consumer.is_alive


def test_partitions_that_are_taken_away_leave_time_to_join_again_within_the_rebalance() -> None:
    async def lose_partitions() -> float:
        clock = JumpingClock()
        source = FrozenSource(clock=clock)
        pump = pump_of(source, clock)
        running = asyncio.create_task(pump.run())
        await until(lambda: is_busy(pump.status()))
        began_s = clock.monotonic_s()
        await source.revoked()
        took_s = clock.monotonic_s() - began_s
        running.cancel()
        await asyncio.wait({running})
        return GroupTimes().rebalance_s - took_s

    assert run_in_jumps(lose_partitions()) >= JOIN_ROOM_S


class SettlesAtTheEnd(Joiner):
    """A reader that settles what it drained when its partitions go, as a pump does."""

    def __init__(self, positions: Positions) -> None:
        super().__init__()
        self._positions = positions

    def settle(self, position: int) -> None:
        source = SUBSCRIBER.source
        place = Place(mark=Mark(position=position), identity=None)
        self._positions.remember(source.group_id, source.topic, {0: place})

    async def on_revoked(self) -> None:
        self.settle(2)


@pytest.mark.parametrize(("end", "position"), [(FrozenSource.revoked, 2), (FrozenSource.close, 1)])
def test_what_was_settled_last_is_remembered_at_the_end_of_an_assignment(
    end: Callable[[FrozenSource], Awaitable[None]], position: int
) -> None:
    store: Store = {}

    async def recalled_by_the_next_owner() -> Mapping[int, Place]:
        positions = MemoryPositions(store)
        source = FrozenSource(clock=JumpingClock(), positions=positions)
        reader = SettlesAtTheEnd(positions)
        await source.open(reader)
        reader.settle(1)
        await end(source)
        spec = SUBSCRIBER.source
        return await MemoryPositions(store).recall(spec.group_id, spec.topic)

    places = run_in_jumps(recalled_by_the_next_owner())
    assert {number: place.mark.position for number, place in places.items()} == {0: position}


async def test_partitions_that_come_to_a_closed_source_are_refused() -> None:
    source = FrozenSource(clock=JumpingClock())
    with pytest.raises(Unavailable, match="the source is closed"):
        await source.assigned(frozenset())
