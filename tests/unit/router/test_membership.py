"""What we make of a membership: a coordinator that says what the test has it say, in the place of
aiokafka's. What a real broker can do is tested with it."""

import asyncio
from types import SimpleNamespace
from typing import Any

from router.adapters.kafka_membership import KafkaMembership

from tests.support.manual_clock import ManualClock


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
        self._retry_backoff_ms = 1
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

    async def _do_commit_offsets(self, assignment: None, offsets: object) -> None:
        await self.answers.wait()


def connection(*, is_open: bool) -> Any:
    return SimpleNamespace(connected=lambda: is_open)


def membership_of(coordinator: Coordinator, clock: ManualClock) -> KafkaMembership:
    consumer = SimpleNamespace(_coordinator=coordinator, _subscription=None)
    return KafkaMembership(consumer, clock)


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
