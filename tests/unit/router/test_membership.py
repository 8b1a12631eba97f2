"""A membership, and commits by it: a coordinator that says what the test has it say, in place of
aiokafka's. What a real broker can do is tested with it."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import InvalidCommitOffsetSizeError
from aiokafka.structs import OffsetAndMetadata
from router.adapters.kafka_membership import KafkaMembership
from router.adapters.kafka_positions import COMMIT_METADATA_BYTES_MAX, KafkaPositions
from router.adapters.memory_positions import MemoryPositions
from router.domain.commit_metadata import METADATA_BYTES_MAX
from router.domain.low_water import Mark

from tests.support.manual_clock import ManualClock
from tests.support.router_flows import SUBSCRIBER

FULL = Mark(position=0, finished=tuple((number, number) for number in range(1, 4_000, 2)))
"""More gaps than a commit has room for."""


class Coordinator:
    """As aiokafka's looks to us; it has no connection at first."""

    def __init__(self) -> None:
        self.group_id, self.generation, self.member_id = "g", 1, "me"
        self.coordinator_id: int | None = None
        self.lookups = 0
        self.connections: list[Any] = []
        """What each attempt to connect comes to."""
        self.answers = asyncio.Event()
        """Commits are not answered before."""
        self.refusals: list[Exception] = []
        """What the next commits come to."""
        self.committed: dict[Any, OffsetAndMetadata] = {}
        self._client = self

    async def ensure_coordinator_known(self) -> None:
        if self.coordinator_id is None:
            self.lookups += 1
            self.coordinator_id = 7

    def coordinator_dead(self) -> None:
        self.coordinator_id = None

    async def _get_conn(self, node_id: int, *, group: int) -> Any:
        assert node_id == 7
        return self.connections.pop(0)

    async def _do_heartbeat(self) -> bool:
        return True

    async def _do_commit_offsets(
        self, assignment: None, offsets: dict[Any, OffsetAndMetadata]
    ) -> None:
        await self.answers.wait()
        if self.refusals:
            raise self.refusals.pop(0)
        self.committed = offsets

    def text_bytes(self) -> list[int]:
        """Of the last commit."""
        return [len(each.metadata) for each in self.committed.values()]


def connection(*, is_open: bool) -> Any:
    return SimpleNamespace(connected=lambda: is_open)


def membership_of(coordinator: Coordinator, clock: ManualClock) -> KafkaMembership:
    consumer = SimpleNamespace(_coordinator=coordinator, _subscription=None)
    return KafkaMembership(consumer, clock, retry_pause_s=0.001)


async def test_a_commit_that_is_answered_late_takes_back_no_confirmation() -> None:
    coordinator, clock = Coordinator(), ManualClock()
    membership = membership_of(coordinator, clock)
    await membership.begin()
    committing = asyncio.create_task(membership.commit({}, member=membership.member))
    await asyncio.sleep(0)
    clock.advance(9.0)
    await coordinator._do_heartbeat()
    coordinator.answers.set()
    await committing
    clock.advance(9.0)
    assert membership.is_confirmed(within_s=10.0)


async def test_a_coordinator_that_cannot_be_connected_to_is_looked_for_again() -> None:
    coordinator = Coordinator()
    coordinator.connections = [None, connection(is_open=False), connection(is_open=True)]
    await membership_of(coordinator, ManualClock()).coordinator_ready()
    assert coordinator.lookups == 2
    assert coordinator.connections == []


async def positions_of(coordinator: Coordinator) -> KafkaPositions:
    coordinator.connections = [connection(is_open=True)] * 10
    coordinator.answers.set()
    membership = membership_of(coordinator, ManualClock())
    await membership.begin()
    return KafkaPositions(
        SUBSCRIBER.source,
        consumer=None,
        membership=membership,
        memory=MemoryPositions(),
        identity=None,
    )


async def test_a_commit_of_very_many_partitions_leaves_out_what_would_be_too_much_at_once() -> None:
    """A broker writes it as one batch: 1.2 MB were refused by a real one."""
    coordinator = Coordinator()
    positions = await positions_of(coordinator)
    assert await positions.commit(dict.fromkeys(range(300), FULL)) == 300
    most_bytes = COMMIT_METADATA_BYTES_MAX
    assert most_bytes * 0.9 < sum(coordinator.text_bytes()) <= most_bytes
    assert await positions.commit({0: FULL}) == 1
    assert METADATA_BYTES_MAX - 10 < coordinator.text_bytes()[0] <= METADATA_BYTES_MAX


async def test_a_commit_that_is_too_large_for_its_broker_has_less_from_then_on() -> None:
    coordinator = Coordinator()
    coordinator.refusals = [InvalidCommitOffsetSizeError()]
    positions = await positions_of(coordinator)
    for _ in range(2):
        assert await positions.commit({0: FULL}) == 1
        assert 0 < coordinator.text_bytes()[0] <= METADATA_BYTES_MAX // 2
