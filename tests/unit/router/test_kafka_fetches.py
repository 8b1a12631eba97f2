"""Fetches from brokers that lose leaders, sessions and answers: two brokers that say what the test
has them say, in the place of aiokafka's client. What one real broker can do is tested with it."""

import asyncio
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, OffsetOutOfRangeError
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from kernel.errors import Unavailable
from router.adapters import kafka_leader_search, kafka_node_fetches
from router.adapters.kafka_fetches import (
    FETCH_BYTES_MAX,
    PARTITION_FETCH_BYTES_MAX,
    KafkaFetches,
)
from router.domain.delivery import NO_TIME_MS
from router.domain.low_water import Mark

WAIT_S = 10.0
RETRY_PAUSE_S = 0.01
NOT_LEADER, OUT_OF_RANGE, NO_SUCH_SESSION = 6, 1, 70

Row = tuple[int, int, bytes]


class Broker:
    """One connection to it, as aiokafka's looks to us."""

    def __init__(self, session_id: int) -> None:
        self.session_id = session_id
        self._versions = {1: (4, 17)}
        self._client_id = "me"
        self._requests: deque[tuple[int, Any, asyncio.Future[None]]] = deque()
        self._writer = self
        self._asked: asyncio.Queue[Any] = asyncio.Queue()

    def _next_correlation_id(self) -> int:
        return 1

    def write(self, data: bytes) -> None:
        head_bytes = 4 + 10 + len(self._client_id)
        self._asked.put_nowait(FetchRequest_v11.decode(BytesIO(data[head_bytes:])))

    def close(self, reason: object = None) -> None:
        while self._requests:
            _, _, answered = self._requests.popleft()
            if not answered.done():
                answered.set_exception(KafkaConnectionError("closed"))

    async def asked(self) -> Any:
        """The next request."""
        return await asyncio.wait_for(self._asked.get(), WAIT_S)

    async def positions(self) -> dict[int, int]:
        """What the next request says of positions."""
        request = await self.asked()
        return {row[0]: row[2] for _, rows in request.topics for row in rows}

    def answer(self, *rows: Row, error_code: int = 0) -> None:
        """Rows of partition, error code and records."""
        encoded = [(n, code, 9, 9, 0, None, -1, records) for n, code, records in rows]
        body = FetchResponse_v11(0, error_code, self.session_id, [("t", encoded)]).encode()
        _, question, answered = self._requests.popleft()
        if not answered.done():
            question.decode(BytesIO(bytes(4) + body))
            answered.set_result(None)

    def garble(self) -> None:
        """An answer that cannot be read: aiokafka closes the connection over what that raises."""
        _, question, answered = self._requests.popleft()
        closed = KafkaConnectionError("closed")
        try:
            question.decode(BytesIO(bytes(6)))
        except struct.error as error:
            closed.__cause__ = error
        answered.set_exception(closed)


class Cluster:
    """What aiokafka's client knows: who leads which partition."""

    def __init__(self, leaders: dict[int, int | None]) -> None:
        self.leaders = leaders
        self.brokers = {1: Broker(5), 2: Broker(6)}
        self.cluster = self
        self.asked_for_news = asyncio.Semaphore(0)
        self._conns: dict[Any, Any] = {}
        self._listener: Callable[[object], None] = lambda cluster: None

    async def _get_conn(self, node_id: int) -> Broker:
        return self.brokers[node_id]

    def leader_for_partition(self, partition: TopicPartition) -> int | None:
        return self.leaders[partition.partition]

    def add_listener(self, listener: Callable[[object], None]) -> None:
        self._listener = listener

    def force_metadata_update(self) -> None:
        self.asked_for_news.release()
        self._listener(self)

    def move(self, partition: int, node_id: int | None) -> None:
        """Let another broker lead it, and tell."""
        self.leaders[partition] = node_id
        self._listener(self)


class Reading:
    """The reader of all of it."""

    def __init__(self, cluster: Cluster) -> None:
        self._has_come = asyncio.Event()
        consumer = SimpleNamespace(_client=cluster, _fetcher=SimpleNamespace())
        self.fetches = KafkaFetches(
            consumer,
            topic="t",
            read_committed=False,
            retry_pause_s=RETRY_PAUSE_S,
            arrived=self._has_come.set,
        )

    async def has_come(self) -> None:
        await asyncio.wait_for(self._has_come.wait(), WAIT_S)
        self._has_come.clear()

    def take(self, records_max: int = 100) -> list[tuple[int, int]]:
        """Partitions and offsets."""
        some = self.fetches.take(records_max, epoch=1)
        return [(delivery.partition, delivery.offset) for delivery in some]


@asynccontextmanager
async def reading(cluster: Cluster, positions: dict[int, int]) -> AsyncIterator[Reading]:
    made = Reading(cluster)
    made.fetches.begin({number: Mark(position=at) for number, at in positions.items()})
    try:
        yield made
    finally:
        made.fetches.let_go()


def records(first: int, count: int = 1) -> bytes:
    """A batch as a broker keeps it."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1_000_000,
    )
    for index in range(count):
        builder.append(index, 1, b"k", b"v", [])
    return first.to_bytes(8) + bytes(builder.build())[8:]


def timeless_record(offset: int) -> bytes:
    """One of message format 0."""
    builder = LegacyRecordBatchBuilder(magic=0, compression_type=0, batch_size=1_000)
    builder.append(offset, None, b"k", b"v")
    return bytes(builder.build())


async def test_each_broker_is_asked_for_what_it_leads() -> None:
    cluster = Cluster({0: 1, 1: 2, 2: 1})
    async with reading(cluster, {0: 10, 1: 20, 2: 30}) as reader:
        assert await cluster.brokers[1].positions() == {0: 10, 2: 30}
        assert await cluster.brokers[2].positions() == {1: 20}
        cluster.brokers[2].answer((1, 0, records(20)))
        await reader.has_come()
        assert reader.take() == [(1, 20)]
        assert await cluster.brokers[2].positions() == {1: 21}


async def test_what_was_asked_of_two_brokers_is_handed_out_once() -> None:
    """A leader moves while it is asked, and answers all the same."""
    cluster = Cluster({0: 1})
    old, new = cluster.brokers.values()
    async with reading(cluster, {0: 10}) as reader:
        await old.asked()
        cluster.move(0, 2)
        assert await new.positions() == {0: 10}
        new.answer((0, 0, records(10)))
        await reader.has_come()
        old.answer((0, 0, records(10, 3)))
        assert reader.take() == [(0, 10)]
        assert await new.positions() == {0: 11}
        cluster.move(0, 1)
        request = await old.asked()
        assert request.topics == [("t", [(0, -1, 11, -1, FETCH_BYTES_MAX)])]
        old.answer((0, 0, records(10, 3)))
        await reader.has_come()
        assert reader.take() == [(0, 11), (0, 12)]


async def test_records_from_before_kafka_had_times_are_read_one_batch_after_the_other() -> None:
    """The second batch of them ended the flow for ever."""
    cluster = Cluster({0: 1})
    broker = cluster.brokers[1]
    async with reading(cluster, {0: 0}) as reader:
        for offset in range(2):
            await broker.asked()
            broker.answer((0, 0, timeless_record(offset)))
            await reader.has_come()
            (record,) = reader.fetches.take(100, epoch=1)
            assert (record.offset, record.timestamp_ms) == (offset, NO_TIME_MS)
        assert reader.fetches.ages[0].waiting_ms(0, now_ms=1_000_000) == 0


async def test_a_broker_that_leads_no_more_holds_up_no_other_partition() -> None:
    cluster = Cluster({0: 1, 1: 1})
    broker = cluster.brokers[1]
    async with reading(cluster, {0: 10, 1: 20}) as reader:
        await broker.asked()
        broker.answer((0, NOT_LEADER, b""), (1, 0, b""))
        assert not cluster.asked_for_news.locked()
        request = await broker.asked()
        assert request.forgotten_topics_data == [("t", [0])]
        broker.answer((1, 0, records(20)))
        await reader.has_come()
        assert reader.take() == [(1, 20)]
        cluster.move(0, 2)
        assert await cluster.brokers[2].positions() == {0: 10}


async def test_partitions_without_a_leader_are_looked_after_until_they_have_one() -> None:
    cluster = Cluster({0: None})
    async with reading(cluster, {0: 10}), asyncio.timeout(WAIT_S):
        for _ in range(3):
            await cluster.asked_for_news.acquire()
        cluster.leaders[0] = 1
        assert await cluster.brokers[1].positions() == {0: 10}


async def test_the_longer_a_partition_has_no_leader_the_less_often_is_one_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two hundred flows asked a cluster for news, each two or three times a second, for ever."""
    monkeypatch.setattr(kafka_leader_search, "LONGEST_S", 4 * RETRY_PAUSE_S)
    cluster = Cluster({0: None, 1: 1})
    async with reading(cluster, {0: 10, 1: 20}) as reader, asyncio.timeout(WAIT_S):
        assert await seeking_pauses(reader, cluster, 4) == [1, 2, 4, 4]
        cluster.move(1, None)
        assert await seeking_pauses(reader, cluster, 2) == [1, 2], "one more has none"
        cluster.move(0, 1)
        cluster.move(0, None)
        assert await seeking_pauses(reader, cluster, 2) == [1, 2]


async def seeking_pauses(reader: Reading, cluster: Cluster, count: int) -> list[int]:
    """The next pauses, in times of the shortest one."""
    pauses = []
    for _ in range(count):
        timer = reader.fetches._search._timer
        assert timer is not None
        pauses.append(round((timer.when() - asyncio.get_running_loop().time()) / RETRY_PAUSE_S))
        await cluster.asked_for_news.acquire()
    return pauses


async def test_a_leader_that_refuses_a_partition_is_asked_for_it_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_leader_search, "LONGEST_S", 4 * RETRY_PAUSE_S)
    cluster = Cluster({0: 1})
    broker = cluster.brokers[1]
    async with reading(cluster, {0: 10}) as reader:
        pauses = []
        for code in (NOT_LEADER, NOT_LEADER, NOT_LEADER, NOT_LEADER, 0, NOT_LEADER):
            await broker.asked()
            asked_s = time.monotonic()
            broker.answer((0, code, b""))
            rest_s = reader.fetches._refused_until_s.get(0, asked_s) - asked_s
            pauses.append(round(rest_s / RETRY_PAUSE_S))
        assert pauses == [1, 2, 4, 4, 0, 1]


async def test_a_session_that_the_broker_forgot_begins_anew_at_once() -> None:
    cluster = Cluster({0: 1, 1: 1})
    broker = cluster.brokers[1]
    async with reading(cluster, {0: 10, 1: 20}):
        first = await broker.asked()
        broker.answer()
        second = await broker.asked()
        assert [first.session_epoch, second.session_epoch] == [0, 1]
        broker.answer(error_code=NO_SUCH_SESSION)
        assert await broker.positions() == {0: 10, 1: 20}


async def test_a_connection_that_breaks_is_asked_again_in_full() -> None:
    cluster = Cluster({0: 1, 1: 1})
    broker = cluster.brokers[1]
    async with reading(cluster, {0: 10, 1: 20}) as reader:
        await broker.asked()
        broker.answer((1, 0, records(20)))
        await reader.has_come()
        assert reader.take() == [(1, 20)]
        assert await broker.positions() == {1: 21}
        broker.close()
        request = await broker.asked()
        assert (request.session_id, request.session_epoch) == (5, 0)
        assert [row[0] for row in request.topics[0][1]] == [0, 1]


async def test_a_broker_that_cannot_be_asked_is_logged_once_and_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger=kafka_node_fetches.__name__)
    cluster = Cluster({0: 1})
    broker = cluster.brokers[1]
    async with reading(cluster, {0: 10}) as reader:
        for _ in range(3):
            await broker.asked()
            broker.close()
        await broker.asked()
        assert len(caplog.messages) == 1
        assert "cannot fetch from broker 1" in caplog.messages[0]
        broker.answer((0, 0, records(10)))
        await reader.has_come()
        assert caplog.messages[1:] == ["fetches from broker 1 again"]


async def test_an_answer_that_cannot_be_read_ends_the_fetches_and_is_told() -> None:
    """It was taken for a broker that is away, and the same was asked again for ever."""
    cluster = Cluster({0: 1})
    async with reading(cluster, {0: 10}) as reader:
        await cluster.brokers[1].asked()
        (node,) = reader.fetches._nodes.values()
        cluster.brokers[1].garble()
        await asyncio.wait({node._task}, timeout=WAIT_S)
        with pytest.raises(Unavailable, match="fetcher has ended"):
            reader.take()


async def test_a_broker_that_is_too_old_is_told_as_that() -> None:
    cluster = Cluster({0: 1})
    cluster.brokers[1]._versions = {1: (0, 3)}
    async with reading(cluster, {0: 10}) as reader:
        (node,) = reader.fetches._nodes.values()
        await asyncio.wait({node._task}, timeout=WAIT_S)
        with pytest.raises(Unavailable, match="broker 1 fetches by versions up to 3"):
            reader.take()


@pytest.mark.parametrize(
    ("partitions", "each_bytes"),
    [(1, FETCH_BYTES_MAX), (3, FETCH_BYTES_MAX // 3), (12, PARTITION_FETCH_BYTES_MAX)],
)
async def test_the_fewer_partitions_the_more_of_each_comes_at_once(
    partitions: int, each_bytes: int
) -> None:
    """A broker far away is asked once in a round trip."""
    cluster = Cluster(dict.fromkeys(range(partitions), 1))
    async with reading(cluster, dict.fromkeys(range(partitions), 0)):
        request = await cluster.brokers[1].asked()
        assert {row[-1] for _, rows in request.topics for row in rows} == {each_bytes}


async def test_an_answer_to_an_assignment_that_is_over_is_dropped() -> None:
    cluster = Cluster({0: 1})
    broker = cluster.brokers[1]
    async with reading(cluster, {0: 10}) as reader:
        await broker.asked()
        reader.fetches.let_go()
        reader.fetches.begin({0: Mark(position=5)})
        assert await broker.positions() == {0: 5}
        broker.answer((0, 0, records(10)))
        assert reader.take() == []
        broker.answer((0, 0, records(5)))
        await reader.has_come()
        assert reader.take() == [(0, 5)]


async def test_an_error_stays_behind_what_was_fetched_before_it() -> None:
    cluster = Cluster({0: 1, 1: 1})
    broker = cluster.brokers[1]
    async with reading(cluster, {0: 10, 1: 20}) as reader:
        await broker.asked()
        broker.answer((0, 0, records(10)), (1, OUT_OF_RANGE, b""))
        await reader.has_come()
        assert reader.take() == [(0, 10)]
        with pytest.raises(OffsetOutOfRangeError):
            reader.take()


async def test_what_waits_for_the_reader_keeps_its_broker_only_for_a_while() -> None:
    cluster = Cluster({0: 1, 1: 1})
    broker = cluster.brokers[1]
    async with reading(cluster, {0: 10, 1: 20}) as reader:
        await broker.asked()
        broker.answer((0, 0, records(10, 2)))
        await reader.has_come()
        assert reader.take(1) == [(0, 10)]
        request = await broker.asked()
        assert request.forgotten_topics_data == [("t", [0])]
        broker.answer((1, 0, records(20)))
        await reader.has_come()
        assert reader.take() == [(0, 11), (1, 20)]
        assert await broker.positions() == {0: 12, 1: 21}
