"""What expired, where a partition has no leader or its leader says nothing: a consumer that answers
as aiokafka's does. What a real broker tells is tested with it (tests/ports/source)."""

import asyncio
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, LeaderNotAvailableError
from router.adapters.kafka_expiry import ASK_TIMEOUT_S, Expired, find_expired, have_expired
from router.domain.low_water import Mark

from tests.support.jumping_loop import JumpingClock, run_in_jumps

REQUEST_TIMEOUT_S = 15.0
NOTHING = Expired(marks={}, lost=0, unwanted=0)
LEADERLESS = pytest.mark.parametrize("leader", [None, -1])


class Consumer:
    """Of a topic whose records begin at 10, and whose leaders the next news name. None and -1 are
    none, as in aiokafka's cluster; a question about such a partition is not answered for others."""

    def __init__(self, leaders: Mapping[int, int | None], *, failure: Exception | None = None):
        self._client = SimpleNamespace(cluster=self, _maybe_wait_metadata=self._hear)
        self._news = leaders
        self._leaders: Mapping[int, int | None] = dict.fromkeys(leaders)
        self._failure = failure

    async def _hear(self) -> None:
        self._leaders = self._news

    def leader_for_partition(self, place: TopicPartition) -> int | None:
        return self._leaders[place.partition]

    async def beginning_offsets(self, places: Iterable[TopicPartition]) -> dict[Any, int]:
        if self._failure is not None:
            raise self._failure
        if any(self.leader_for_partition(place) in (None, -1) for place in places):
            await asyncio.sleep(REQUEST_TIMEOUT_S)
            raise KafkaTimeoutError
        return dict.fromkeys(places, 10)


class Silent(Consumer):
    """Its leaders do not answer."""

    async def beginning_offsets(self, places: Iterable[TopicPartition]) -> dict[Any, int]:
        await asyncio.sleep(REQUEST_TIMEOUT_S)
        raise KafkaTimeoutError


def found(consumer: Consumer, *partitions: int) -> tuple[Expired, float]:
    """And how long it took; each partition stands at 4."""

    async def find() -> tuple[Expired, float]:
        marks = dict.fromkeys(partitions, Mark(position=4))
        expired = await find_expired(consumer, "t", marks, wanted_since=None)
        return expired, JumpingClock().monotonic_s()

    return run_in_jumps(find())


@LEADERLESS
def test_a_partition_that_nobody_leads_keeps_no_other_from_beginning(leader: int | None) -> None:
    expired, took_s = found(Consumer({0: 1, 1: leader}), 0, 1)
    assert expired == Expired(marks={0: Mark(position=10)}, lost=6, unwanted=0)
    assert took_s == 0
    assert found(Consumer({1: leader}), 1) == (NOTHING, 0)


def test_leaders_that_do_not_tell_what_expired_are_waited_for_only_for_a_moment() -> None:
    assert found(Silent({0: 1}), 0) == (NOTHING, ASK_TIMEOUT_S)
    assert found(Consumer({0: 1}, failure=KafkaConnectionError("gone")), 0) == (NOTHING, 0)


@LEADERLESS
async def test_a_flow_does_not_fail_for_good_before_all_leaders_were_asked(
    leader: int | None,
) -> None:
    consumer = Consumer({0: 1, 1: leader})
    assert await have_expired(consumer, "t", {0: 4, 1: 4})
    with pytest.raises(LeaderNotAvailableError):
        await have_expired(consumer, "t", {0: 10, 1: 4})
    assert not await have_expired(Consumer({0: 1}), "t", {0: 10})
