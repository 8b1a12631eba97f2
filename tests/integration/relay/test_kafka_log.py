"""The relay's topics on a real Kafka: one transaction a batch, one writer, resumed from its end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Sequence
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from devstack import Kafka
from eventflows_cli.relay import topics
from eventflows_cli.relay.kafka_log import KafkaLog, position_of, stop
from eventflows_cli.relay.records import POSITION_HEADER, Record
from kernel.errors import StateForbids, TooLarge, Unavailable

from tests.support.kafka_clients import consuming


def names() -> tuple[str, str]:
    """A full topic and a state topic that nobody else has."""
    name = uuid4().hex[:8]
    return f"log-{name}", f"state-{name}"


def log_of(kafka: Kafka, full: str, state: str) -> KafkaLog:
    return KafkaLog(kafka.client_settings(), full_topic=full, state_topic=state)


def record(position: int, *, key: str = "k", value: bytes | None = b"{}") -> Record:
    return Record(
        key=key.encode(), value=value, headers=((POSITION_HEADER, str(position).encode()),)
    )


async def positions(
    kafka: Kafka, topic: str, *, isolation: str = "read_committed"
) -> Sequence[int]:
    """The positions in a topic's records, in their order."""
    partition = TopicPartition(topic, 0)
    async with consuming(kafka, isolation_level=isolation) as consumer:
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        found = []
        while await consumer.position(partition) < end:
            batch = await consumer.getmany(partition, timeout_ms=500)
            found += [position_of(one) for one in batch.get(partition, ())]
    return found


def forget_fenced() -> None:
    """aiokafka 0.14 leaves a fenced batch's error in a future that nobody can ask for it."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    gc.collect()
    loop.set_exception_handler(None)


async def test_a_new_topic_has_no_last_record(kafka: Kafka) -> None:
    async with log_of(kafka, *names()) as log:
        assert await log.last() is None


async def test_the_last_record_tells_where_to_go_on(kafka: Kafka) -> None:
    full, state = names()
    async with log_of(kafka, full, state) as log:
        await log.write([record(1), record(2)], [record(1), record(2)])
        await log.write([record(3)], [record(3, value=None)])
    async with log_of(kafka, full, state) as log:
        last = await log.last()
    assert last is not None
    assert position_of(last) == 3
    assert await positions(kafka, full) == [1, 2, 3]
    assert await positions(kafka, state) == [1, 2, 3]


async def test_no_more_than_the_end_of_a_topic_is_read_for_the_last_record(
    kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    """A hundred of the largest records are gigabytes: they would not come in time."""
    full, state = names()
    async with log_of(kafka, full, state) as log:
        for position in range(1, 11):
            await log.write([record(position)], [record(position)])
        caplog.set_level(logging.DEBUG, logger="aiokafka.consumer.fetcher")
        last = await log.last()
    assert last is not None
    assert position_of(last) == 10
    asked = [one.getMessage() for one in caplog.records]
    offsets = [
        int(one.rsplit(" ", 1)[1]) for one in asked if one.startswith("Adding fetch request")
    ]
    assert min(offsets) == 2 * (10 - 1)


async def test_a_second_relay_takes_over_and_the_first_is_stopped(kafka: Kafka) -> None:
    full, state = names()
    async with log_of(kafka, full, state) as first:
        await first.write([record(1)], [record(1)])
        async with log_of(kafka, full, state) as second:
            with pytest.raises(StateForbids, match="another relay"):
                await first.write([record(2)], [record(2)])
            await second.write([record(2)], [record(2)])
    assert await positions(kafka, full) == [1, 2]
    forget_fenced()


async def test_what_was_begun_and_not_committed_is_not_the_last_record(kafka: Kafka) -> None:
    full, state = names()
    async with log_of(kafka, full, state) as log:
        await log.write([record(1)], [record(1)])
    killed = AIOKafkaProducer(
        **kafka.client_settings(), transactional_id=f"eventflows-relay-{full}"
    )
    await killed.start()
    await killed.begin_transaction()
    for position in range(2, 400):
        one = record(position)
        await killed.send(full, value=one.value, key=one.key, headers=list(one.headers))
    await killed.flush()
    async with log_of(kafka, full, state) as log:
        last = await log.last()
        assert last is not None
        assert position_of(last) == 1
        await log.write([record(2)], [record(2)])
    await stop(killed)
    assert await positions(kafka, full) == [1, 2]
    assert len(await positions(kafka, full, isolation="read_uncommitted")) == 400


async def test_a_record_of_somebody_else_is_noticed(kafka: Kafka) -> None:
    full, state = names()
    async with log_of(kafka, full, state) as log:
        async with AIOKafkaProducer(**kafka.client_settings()) as stranger:
            await stranger.send_and_wait(full, b"hello")
        with pytest.raises(StateForbids, match="not the relay's"):
            await log.last()


async def test_topics_that_would_lose_or_reorder_are_refused(kafka: Kafka) -> None:
    full, state = names()
    await kafka.create_topic(full, partitions=2)
    with pytest.raises(StateForbids, match="2 partitions"):
        await log_of(kafka, full, state).__aenter__()
    other, plain = names()
    await kafka.create_topic(plain, partitions=1)
    with pytest.raises(StateForbids, match=r"cleanup.policy = delete.*set it to compact"):
        await log_of(kafka, other, plain).__aenter__()
    compacted, _ = names()
    await topics.ensure(kafka.client_settings(), full=other, state=compacted)
    with pytest.raises(StateForbids, match=r"cleanup.policy = compact.*set it to delete"):
        await log_of(kafka, compacted, compacted).__aenter__()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("retention.ms", "604800000"), ("retention.bytes", "1000"), ("max.message.bytes", "1048576")],
)
async def test_a_full_topic_that_forgets_or_refuses_is_refused(
    kafka: Kafka, setting: str, value: str
) -> None:
    full, state = names()
    await kafka.create_topic(full, config={**topics.FULL, setting: value})
    with pytest.raises(StateForbids, match=f"{full} has {setting} = {value}"):
        await log_of(kafka, full, state).__aenter__()


async def test_states_that_are_deleted_after_a_while_are_refused(kafka: Kafka) -> None:
    full, state = names()
    await kafka.create_topic(state, config={**topics.STATE, "cleanup.policy": "compact,delete"})
    with pytest.raises(StateForbids, match=f"{state} has cleanup.policy = compact,delete"):
        await log_of(kafka, full, state).__aenter__()


@pytest.mark.parametrize("fresh", ["state", "full"])
async def test_one_of_the_two_topics_does_not_begin_anew_alone(kafka: Kafka, fresh: str) -> None:
    """A new state topic would lack the states until now, an old one would go back to them."""
    full, state = names()
    async with log_of(kafka, full, state) as log:
        await log.write([record(1)], [record(1)])
    pair = (full, names()[1]) if fresh == "state" else (names()[0], state)
    async with log_of(kafka, *pair) as log:
        with pytest.raises(StateForbids, match="written together"):
            await log.last()


async def test_a_large_state_goes_through_and_one_that_cannot_is_told(
    customer_kafka: Kafka,
) -> None:
    """Also where the cluster takes 1 MiB only: the topics have a limit of their own."""
    kafka = customer_kafka
    full, state = names()
    async with log_of(kafka, full, state) as log:
        head = record(1, value=None)
        room = topics.CONTENT_BYTES_MAX - head.size_bytes
        await log.write([record(1)], [record(1, value=os.urandom(room))])
        with pytest.raises(TooLarge, match="the record of k at position 2 has"):
            await log.write([record(2)], [record(2, value=bytes(room + 1))])
        last = await log.last()
    assert last is not None
    assert position_of(last) == 1


async def test_a_wait_of_a_closed_log_is_no_wait(kafka: Kafka) -> None:
    log = log_of(kafka, *names())
    async with log:
        pass
    with pytest.raises(Unavailable, match="closed"):
        await log.write([record(1)], [record(1)])


async def test_a_write_that_is_broken_off_before_its_transaction_began_ends_quietly() -> None:
    """SIGTERM may come while the broker is away; it was told as a defect of ours, with a trace."""
    nobody = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1", transactional_id="relay")
    log = KafkaLog({}, full_topic="log", state_topic="state")
    log._producer = nobody
    writing = asyncio.create_task(log.write([record(1)], [record(1)]))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await log.close()


async def test_a_broker_that_is_away_is_said_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventflows_cli.relay.kafka_log.START_TIMEOUT_S", 2.0)
    nobody = KafkaLog({"bootstrap_servers": "127.0.0.1:1"}, full_topic="log", state_topic="state")
    with pytest.raises(Unavailable, match="starting the relay"):
        await nobody.__aenter__()


async def test_it_works_with_sasl_over_tls(customer_kafka: Kafka) -> None:
    full, state = names()
    async with log_of(customer_kafka, full, state) as log:
        await log.write([record(1)], [record(1, value=None)])
    assert await positions(customer_kafka, full) == [1]
