"""Traps of group membership, each measured on a real broker."""

import asyncio
import time
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from devstack import Kafka
from kernel.errors import Unavailable
from router.adapters import kafka_fetches
from router.adapters.kafka_membership import KafkaMembership
from router.adapters.kafka_source import KafkaSource
from router.domain.delivery import Delivery
from router.domain.errors import StaleAssignment
from router.domain.low_water import Mark

from tests.support.router_sources import QUICK_TIMES, Reader, kafka_topic, reading

SHORT_TIMES = replace(QUICK_TIMES, session_timeout_s=1.0, heartbeat_s=0.2)


async def test_promise_2_a_thawed_process_does_not_go_on_as_if_it_owned_its_partitions(
    kafka: Kafka,
) -> None:
    async with kafka_topic(kafka) as topic:
        await topic.append(b"one")
        source = topic.source(times=SHORT_TIMES)
        reader = Reader(source)
        try:
            await source.open(reader)
            await reader.read(1)
            frozen_epoch = reader.epoch
            assert source.holds(epoch=frozen_epoch)
            time.sleep(SHORT_TIMES.session_timeout_s * 1.5)  # noqa: ASYNC251 - the process freezes
            assert not source.holds(epoch=frozen_epoch)
            with pytest.raises(StaleAssignment):
                await source.settle({0: Mark(position=1)}, epoch=frozen_epoch)
            await reader.until(lambda: reader.assignments == 2)
            assert source.holds(epoch=reader.epoch)
            assert reader.positions == {0: 0}
            await reader.read(1)
        finally:
            await source.close()
        assert await topic.committed() == 0


async def test_a_commit_without_membership_would_succeed_if_nobody_stopped_it(
    kafka: Kafka,
) -> None:
    """The measured reason for the guard in `KafkaMembership`."""
    async with kafka_topic(kafka) as topic:
        await topic.append(b"one")
        partition = TopicPartition(topic.name, 0)
        consumer = AIOKafkaConsumer(
            topic.name,
            **kafka.client_settings(),
            group_id=topic.group_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        async with consumer:
            await consumer.getone()
            await consumer._coordinator._maybe_leave_group()
            await consumer._coordinator._do_commit_offsets(
                None, {partition: _OffsetWithoutMetadata(1)}
            )
        assert await topic.committed() == 1


async def test_an_evicted_member_settles_nothing(kafka: Kafka) -> None:
    async with kafka_topic(kafka) as topic:
        await topic.append(b"one")
        async with reading(topic) as reader:
            await reader.read(1)
            source = reader.source
            assert isinstance(source, KafkaSource)
            assert source._consumer is not None
            coordinator = source._consumer._coordinator
            await coordinator._maybe_leave_group()
            with pytest.raises(StaleAssignment):
                await reader.settle(1)
        assert await topic.committed() == 0


async def test_promise_5_a_source_that_is_not_polled_is_evicted(kafka: Kafka) -> None:
    """What pausing by not polling would lead to; the paused pump polls, and stays."""
    times = replace(SHORT_TIMES, max_poll_interval_s=0.5)
    async with kafka_topic(kafka) as topic:
        idle = topic.source(times=times)
        idle_reader = Reader(idle)
        try:
            await idle.open(idle_reader)
            await idle_reader.until(lambda: idle_reader.assignments)
            async with asyncio.timeout(20):
                while idle.holds(epoch=idle_reader.epoch):
                    await asyncio.sleep(0.01)
            async with reading(topic) as other:
                assert other.positions == {0: 0}, "somebody else has its partition"
        finally:
            await idle.close()


async def test_a_receive_that_finds_records_at_once_counts_as_polling(kafka: Kafka) -> None:
    """Else a source that never waits would be made to leave."""
    async with kafka_topic(kafka) as topic:
        for number in range(2):
            await topic.append(str(number).encode())
        async with reading(topic) as reader:
            source = reader.source
            assert isinstance(source, KafkaSource)
            assert source._consumer is not None
            async with asyncio.timeout(10):
                while not await source.receive(wait_s=1, records_max=1):
                    pass
            subscription = source._consumer._subscription
            subscription._last_fetch_ended = float("-inf")
            assert len(await source.receive(wait_s=0, records_max=1)) == 1
            assert subscription.fetcher_idle_time < QUICK_TIMES.max_poll_interval_s


async def test_a_poll_that_a_rebalance_broke_off_does_not_count_as_polling_for_ever(
    kafka: Kafka,
) -> None:
    times = replace(SHORT_TIMES, max_poll_interval_s=0.5)
    async with kafka_topic(kafka) as topic:
        idle = topic.source(times=times)
        idle_reader = Reader(idle)
        try:
            await idle.open(idle_reader)
            await idle_reader.until(lambda: idle_reader.assignments)
            receiving = asyncio.create_task(idle.receive(wait_s=60, records_max=1))
            async with reading(topic) as other:
                receiving.cancel()
                await other.until(lambda: other.positions and not _is_member(idle, idle_reader))
        finally:
            await idle.close()


def _of_epoch(reader: Reader) -> list[Delivery]:
    return [each for each in reader.deliveries if each.epoch == reader.epoch]


def _is_member(source: KafkaSource, reader: Reader) -> bool:
    return source.holds(epoch=reader.epoch)


async def test_promise_3_nothing_is_handed_out_during_a_rebalance(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kafka_topic(kafka) as topic:
        for number in range(3):
            await topic.append(str(number).encode())
        async with reading(topic) as first:
            await first.read(3)
            await first.settle(1)
            known, asked = asyncio.Event(), asyncio.Event()
            ask = KafkaMembership.committed

            async def ask_late(self: KafkaMembership, partitions: object) -> object:
                asked.set()
                await known.wait()
                return await ask(self, partitions)  # type: ignore[arg-type]

            monkeypatch.setattr(KafkaMembership, "committed", ask_late)
            receiving = asyncio.create_task(first.source.receive(wait_s=10, records_max=10))
            source = topic.source()
            second = Reader(source)
            try:
                await source.open(second)
                await asyncio.wait_for(asked.wait(), timeout=10)
                assert list(await receiving) == []
                for _ in range(10):
                    assert list(await first.source.receive(wait_s=0.05, records_max=10)) == []
                    assert list(await source.receive(wait_s=0.05, records_max=10)) == []
                known.set()
                await asyncio.gather(
                    first.until(lambda: first.assignments == 2),
                    second.until(lambda: second.assignments),
                )
                owner = first if first.positions else second
                await owner.until(lambda: len(_of_epoch(owner)) >= 2)
                assert [each.offset for each in _of_epoch(owner)] == [1, 2]
            finally:
                await source.close()


async def test_promise_3_nothing_is_fetched_before_the_position_is_known(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kafka_topic(kafka) as topic:
        for number in range(3):
            await topic.append(str(number).encode())
        await topic.commit(1)
        known, asked = asyncio.Event(), asyncio.Event()
        ask = KafkaMembership.committed

        async def ask_late(self: KafkaMembership, partitions: object) -> object:
            asked.set()
            await known.wait()
            return await ask(self, partitions)  # type: ignore[arg-type]

        monkeypatch.setattr(KafkaMembership, "committed", ask_late)
        source = topic.source()
        reader = Reader(source)
        try:
            await source.open(reader)
            assert source._consumer is not None
            await reader.until(asked.is_set)
            for _ in range(3):
                reader.deliveries += await source.receive(wait_s=0.05, records_max=10)
            assert (reader.deliveries, reader.assignments) == ([], 0)
            assert not source._consumer._fetcher._records, "aiokafka fetches nothing itself"
            known.set()
            await reader.read(2)
            assert reader.positions == {0: 1}
            assert reader.values == [b"1", b"2"]
        finally:
            await source.close()


async def test_a_fetch_that_waits_at_the_broker_holds_up_neither_a_rebalance_nor_a_close(
    customer_kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker answers the requests of a connection one after the other, and TLS says good-bye."""
    monkeypatch.setattr(kafka_fetches, "IDLE_WAIT_MS", 11_000)
    async with asyncio.timeout(9), kafka_topic(customer_kafka, 2) as topic:
        async with reading(topic) as first:
            await first.source.receive(wait_s=0.2, records_max=1)
            async with reading(topic):
                await first.until(lambda: first.assignments == 2)
                for partition in range(2):
                    await topic.append(b"x", partition=partition)
                await first.read(1)


async def test_the_marks_of_transactions_are_no_lag(kafka: Kafka) -> None:
    async with kafka_topic(kafka) as topic:
        settings = kafka.client_settings()
        async with AIOKafkaProducer(**settings, transactional_id=topic.name) as producer:
            async with producer.transaction():
                await producer.send_and_wait(topic.name, b"one")
        async with reading(topic) as reader:
            await reader.read(1)
            await reader.source.receive(wait_s=0.2, records_max=1)
            assert (await reader.source.lag({0: 1})).records == 0
            lag = await reader.source.lag({0: 0})
            assert (lag.records, lag.receivable) == (2, 0)


async def test_a_source_closes_in_time_although_its_broker_is_away() -> None:
    own = Kafka(name="own-kafka")
    await own.start()
    try:
        async with kafka_topic(own) as topic:
            source = topic.source()
            reader = Reader(source)
            await source.open(reader)
            await reader.until(lambda: reader.assignments)
            own.kill()
            async with asyncio.timeout(15):
                await source.close()
    finally:
        await own.stop()


async def test_a_fetcher_that_ended_is_missed(kafka: Kafka) -> None:
    async with kafka_topic(kafka) as topic, reading(topic) as reader:
        source = reader.source
        assert isinstance(source, KafkaSource)
        assert source._fetches is not None
        (node,) = source._fetches._nodes.values()
        node.cancel()
        await asyncio.wait({node._task}, timeout=10)
        with pytest.raises(Unavailable, match="fetcher has ended"):
            await reader.read(1)


@pytest.mark.parametrize("metadata", ["somebody else's", "1;00000000;1-2"])
async def test_metadata_that_is_not_ours_is_passed_over(kafka: Kafka, metadata: str) -> None:
    async with kafka_topic(kafka) as topic:
        for number in range(3):
            await topic.append(str(number).encode())
        await topic.commit(1, metadata=metadata)
        async with reading(topic) as reader:
            assert (reader.positions, reader.finished) == ({0: 1}, {0: ()})


class _OffsetWithoutMetadata:
    """What aiokafka takes for an offset."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.metadata = ""
