"""Publishing and dead letters on real brokers, and what happens when a broker refuses."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import ConsumerRecord
from devstack import Kafka
from hypothesis import given
from hypothesis import strategies as st
from kernel.errors import InvalidInput, NotFound, TooLarge, Unavailable
from router.adapters import kafka_producers, kafka_writer
from router.adapters.internal_topics import ensure_internal_topics
from router.adapters.kafka_dead_letters import KafkaDeadLetters
from router.adapters.kafka_producers import KafkaProducers
from router.adapters.kafka_target import KafkaTarget
from router.adapters.kafka_writer import KafkaWriter, hash_of
from router.domain.dead_letter import Attempt, DeadLetter, History, dead_letter
from router.domain.delivery import Delivery, Run
from router.domain.flow_spec import KafkaTargetSpec
from router.domain.outcome import SUCCEEDED, Outcome, OutcomeKind, failed

from tests.support.dead_letters import internal_letter
from tests.support.kafka_clients import consuming
from tests.support.manual_clock import let_others_run
from tests.support.router_flows import COMPLETION, PUBLISHER, SUBSCRIBER, delivery
from tests.support.router_sources import KafkaTopic, connection_of, kafka_topic, reading

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LARGER_THAN_A_MEGABYTE = bytes(1_500_000)
LARGER_THAN_OUR_TOPIC_TAKES = bytes(26 * 1024 * 1024)
OFFSETS = count(1_000)
"""Each internal dead letter of these tests has its own, so that it is found among all others."""


@pytest_asyncio.fixture(loop_scope="session")
async def producers() -> AsyncIterator[KafkaProducers]:
    made = KafkaProducers()
    yield made
    await made.close()


def target_of(topic: KafkaTopic, producers: KafkaProducers) -> KafkaTarget:
    spec = replace(PUBLISHER, target=KafkaTargetSpec(connection_id="c-1", topic=topic.name))
    return KafkaTarget(spec, connection=topic.connection, producers=producers)


def run(record: Delivery) -> Run:
    return Run(
        delivery=record,
        request_id="req-2",
        attempt=1,
        hops=5,
        traceparent=TRACEPARENT,
        named=dict(record.headers),
    )


async def records_of(kafka: Kafka, topic: str, count: int) -> list[ConsumerRecord]:
    """The newest `count` records of partition 0."""
    partition = TopicPartition(topic, 0)
    async with consuming(kafka) as consumer:
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        consumer.seek(partition, max(0, end - count))
        return [await consumer.getone() for _ in range(count)]


def letter_of(record: Delivery) -> DeadLetter:
    history = History()
    outcome = failed(OutcomeKind.ALGORITHM_ERROR, "bad", error_type="InputError")
    history.add(Attempt(attempt=1, at=datetime.now(UTC), outcome=outcome))
    return dead_letter(SUBSCRIBER, record, history, request_id="req-2")


async def test_a_completion_is_published_with_its_key_bytes_and_headers(
    customer_kafka: Kafka, producers: KafkaProducers
) -> None:
    async with kafka_topic(customer_kafka) as topic:
        target = target_of(topic, producers)
        record = delivery(key=b"k", value=b"\x00\xff", headers=COMPLETION)
        assert await target.invoke(run(record)) == SUCCEEDED
        (written,) = await records_of(customer_kafka, topic.name, 1)
        await target.close()
    assert (written.key, written.value) == (b"k", b"\x00\xff")
    assert dict(written.headers) == {
        "content-type": b"application/json",
        "ef-request-id": b"req-1",
        "ef-hops": b"5",
        "traceparent": TRACEPARENT.encode(),
    }


async def test_aiokafka_breaks_its_partition_after_a_batch_was_refused(
    customer_kafka: Kafka,
) -> None:
    """The measured reason for `kafka_sequences`."""
    async with kafka_topic(customer_kafka) as topic:
        settings = customer_kafka.client_settings() | {"enable_idempotence": True}
        async with AIOKafkaProducer(**settings, max_request_size=4_000_000) as producer:
            await producer.send_and_wait(topic.name, b"first")
            with pytest.raises(MessageSizeTooLargeError):
                await producer.send_and_wait(topic.name, LARGER_THAN_A_MEGABYTE)
            with pytest.raises(KafkaError, match="OutOfOrderSequence"):
                await producer.send_and_wait(topic.name, b"second")


async def test_what_is_too_large_is_refused_and_harms_nobody_else(
    customer_kafka: Kafka, producers: KafkaProducers
) -> None:
    async with kafka_topic(customer_kafka) as topic:
        target = target_of(topic, producers)
        small = delivery(value=b"small", headers=COMPLETION)
        large = delivery(value=LARGER_THAN_A_MEGABYTE, headers=COMPLETION)
        assert await target.invoke(run(small)) == SUCCEEDED
        refused = await target.invoke(run(large))
        assert (refused.kind, refused.word) == (OutcomeKind.REFUSED, "record_too_large")
        assert await target.invoke(run(small)) == SUCCEEDED
        await target.close()


async def test_flows_go_on_by_the_same_producer_while_records_of_one_are_refused(
    customer_kafka: Kafka, producers: KafkaProducers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them had all flows of the connection wait for a new producer."""
    starts: list[object] = []
    start = AIOKafkaProducer.start

    async def counted(self: AIOKafkaProducer) -> None:
        starts.append(self)
        await start(self)

    values = [b"%d" % number for number in range(200)]
    async with kafka_topic(customer_kafka) as topic:
        monkeypatch.setattr(AIOKafkaProducer, "start", counted)
        target, refused = target_of(topic, producers), target_of(topic, producers)

        async def send_all(to: KafkaTarget, *each: bytes) -> list[Outcome]:
            return [await to.invoke(run(delivery(value=v, headers=COMPLETION))) for v in each]

        outcomes, refusals = await asyncio.gather(
            send_all(target, *values), send_all(refused, *[LARGER_THAN_A_MEGABYTE] * 10)
        )
        assert {outcome.kind for outcome in outcomes} == {OutcomeKind.SUCCEEDED}
        assert {refusal.word for refusal in refusals} == {"record_too_large"}
        assert len(starts) == 1
        written = await records_of(customer_kafka, topic.name, len(values))
        assert [record.value for record in written] == values
        await target.close()
        await refused.close()


async def test_records_are_not_too_large_because_their_batch_is(
    customer_kafka: Kafka, producers: KafkaProducers
) -> None:
    """A topic with a limit below our batches refused them whole: good records were given up."""
    async with kafka_topic(customer_kafka, 1, **{"max.message.bytes": "10000"}) as topic:
        target = target_of(topic, producers)
        assert await target.invoke(run(delivery(headers=COMPLETION))) == SUCCEEDED
        sizes = [1_000] * 50 + [20_000] + [1_000] * 50
        outcomes = await asyncio.gather(
            *(target.invoke(run(delivery(value=bytes(s), headers=COMPLETION))) for s in sizes)
        )
        refused = [n for n, each in enumerate(outcomes) if each.word == "record_too_large"]
        assert refused == [50]
        assert outcomes.count(SUCCEEDED) == 100
        written = await records_of(customer_kafka, topic.name, 101)
        assert [len(record.value) for record in written[1:]] == [1_000] * 100
        await target.close()


async def test_what_a_compacted_topic_refuses_is_told_and_harms_nobody_else(
    customer_kafka: Kafka, producers: KafkaProducers
) -> None:
    async with kafka_topic(customer_kafka, 1, **{"cleanup.policy": "compact"}) as topic:
        producer = producers.use(topic.connection)
        await producer.send(topic.name, key=b"k", value=b"v", headers=())
        with pytest.raises(InvalidInput, match="takes no record without a key"):
            await producer.send(topic.name, key=None, value=b"v", headers=())
        keys = [b"k", None, b"l"]
        first, refused, last = await asyncio.gather(
            *(producer.send(topic.name, key=key, value=b"v", headers=()) for key in keys),
            return_exceptions=True,
        )
        assert (first, type(refused), last) == (None, InvalidInput, None)
        await producer.send(topic.name, key=b"k", value=b"v", headers=())
        await producers.release(topic.connection)


async def test_a_record_that_nobody_acknowledges_is_given_up_as_perhaps_written(
    customer_kafka: Kafka, producers: KafkaProducers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_writer, "SEND_TIMEOUT_S", 0.5)
    async with kafka_topic(customer_kafka) as topic:
        target = target_of(topic, producers)
        record = delivery(headers=COMPLETION)
        assert await target.invoke(run(record)) == SUCCEEDED
        customer_kafka.process.pause()
        try:
            outcome = await target.invoke(run(record))
        finally:
            customer_kafka.process.resume()
        assert outcome.kind is OutcomeKind.NO_ANSWER
        monkeypatch.setattr(kafka_writer, "SEND_TIMEOUT_S", 30.0)
        assert await target.invoke(run(record)) == SUCCEEDED
        await target.close()


async def test_records_join_the_open_batch_of_their_partition_in_the_order_of_the_calls(
    customer_kafka: Kafka, producers: KafkaProducers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shortcut around aiokafka's `send` is taken, and does what `send` would have done."""
    sends: list[bytes] = []
    send = AIOKafkaProducer.send

    async def counted(self: AIOKafkaProducer, topic: str, **fields: Any) -> Any:
        sends.append(fields["value"])
        return await send(self, topic, **fields)

    monkeypatch.setattr(AIOKafkaProducer, "send", counted)
    values = [b"%d" % number for number in range(500)]
    async with kafka_topic(customer_kafka) as topic:
        target = target_of(topic, producers)
        await target.invoke(run(delivery(value=b"first", headers=COMPLETION)))
        records = [delivery(value=value, headers=COMPLETION) for value in values]
        outcomes = await asyncio.gather(*(target.invoke(run(record)) for record in records))
        assert set(outcomes) == {SUCCEEDED}
        written = await records_of(customer_kafka, topic.name, len(values))
        await target.close()
    assert [record.value for record in written] == values
    assert len(sends) < len(values) / 10


@given(st.binary(max_size=200), st.integers(1, 64))
def test_a_key_goes_to_the_partition_that_kafkas_own_clients_choose(key: bytes, count: int) -> None:
    partitions = list(range(count))
    assert hash_of(key) % count == DefaultPartitioner()(key, partitions, partitions)


async def test_a_topic_that_is_gone_is_told(
    customer_kafka: Kafka, producers: KafkaProducers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_writer, "SEND_TIMEOUT_S", 2.0)
    spec = replace(PUBLISHER, target=KafkaTargetSpec(connection_id="c-1", topic="no-such-topic"))
    target = KafkaTarget(spec, connection=connection_of(customer_kafka), producers=producers)
    outcome = await target.invoke(run(delivery(headers=COMPLETION)))
    assert outcome.kind is OutcomeKind.UNREACHABLE
    assert "no-such-topic" in outcome.error
    await target.close()


async def test_flows_of_one_connection_share_a_producer_until_the_last_one_ends(
    kafka: Kafka, producers: KafkaProducers
) -> None:
    async with kafka_topic(kafka) as topic:
        first, second = target_of(topic, producers), target_of(topic, producers)
        record = delivery(headers=COMPLETION)
        await asyncio.gather(first.invoke(run(record)), second.invoke(run(record)))
        assert producers.open_count == 1
        await first.close()
        assert await second.invoke(run(record)) == SUCCEEDED
        await second.close()
        assert producers.open_count == 0


@pytest.mark.parametrize("key", [b"k", None])
@pytest.mark.parametrize("value", [b"v", None])
async def test_a_dead_letter_is_the_record_and_its_history(
    kafka: Kafka, producers: KafkaProducers, key: bytes | None, value: bytes | None
) -> None:
    await ensure_internal_topics(kafka.bootstrap_servers)
    internal = connection_of(kafka)
    letters = KafkaDeadLetters(SUBSCRIBER, own=None, internal=internal, producers=producers)
    letter = letter_of(delivery(next(OFFSETS), key=key, value=value, headers=(("own", b"1"),)))
    await letters.write(letter)
    await letters.close()
    written = await internal_letter(kafka, offset=str(letter.delivery.offset))
    assert written.key == key
    assert written.value == (b"" if key is None and value is None else value)
    assert written.headers == letter.headers


async def test_a_flows_own_topic_gets_its_dead_letters(
    kafka: Kafka, customer_kafka: Kafka, producers: KafkaProducers
) -> None:
    async with kafka_topic(customer_kafka) as topic:
        letters = own_letters(topic, kafka, producers)
        await letters.write(letter_of(delivery(value=b"own")))
        await letters.close()
        (written,) = await records_of(customer_kafka, topic.name, 1)
    assert written.value == b"own"


async def test_a_dead_letter_too_large_for_its_own_topic_goes_to_the_internal_one(
    kafka: Kafka, customer_kafka: Kafka, producers: KafkaProducers
) -> None:
    await ensure_internal_topics(kafka.bootstrap_servers)
    async with kafka_topic(customer_kafka) as topic:
        letters = own_letters(topic, kafka, producers)
        letter = letter_of(delivery(next(OFFSETS), value=LARGER_THAN_A_MEGABYTE))
        await letters.write(letter)
        await letters.close()
    written = await internal_letter(kafka, offset=str(letter.delivery.offset))
    assert written.value == LARGER_THAN_A_MEGABYTE


async def test_the_largest_record_still_becomes_a_dead_letter(
    kafka: Kafka, producers: KafkaProducers
) -> None:
    await ensure_internal_topics(kafka.bootstrap_servers)
    internal = connection_of(kafka)
    letters = KafkaDeadLetters(SUBSCRIBER, own=None, internal=internal, producers=producers)
    value = bytes(24 * 1024 * 1024)
    letter = letter_of(delivery(next(OFFSETS), value=value))
    await letters.write(letter)
    await letters.close()
    written = await internal_letter(kafka, offset=str(letter.delivery.offset))
    assert len(written.value) == len(value)


async def test_what_is_too_large_for_our_topic_of_dead_letters_is_told_with_what_helps(
    kafka: Kafka, customer_kafka: Kafka, producers: KafkaProducers
) -> None:
    await ensure_internal_topics(kafka.bootstrap_servers)
    letter = letter_of(delivery(next(OFFSETS), value=LARGER_THAN_OUR_TOPIC_TAKES))
    internal = connection_of(kafka)
    letters = KafkaDeadLetters(SUBSCRIBER, own=None, internal=internal, producers=producers)
    with pytest.raises(TooLarge, match=r"has 26\.0 MiB.*ours 25 MiB.*topic of its own.*64 MiB"):
        await letters.write(letter)
    await letters.close()
    limits = {"max.message.bytes": str(2 * len(LARGER_THAN_OUR_TOPIC_TAKES))}
    async with (
        kafka_topic(customer_kafka) as small,
        kafka_topic(customer_kafka, 1, **limits) as topic,
    ):
        letters = own_letters(small, kafka, producers)
        with pytest.raises(TooLarge, match=f"raise max.message.bytes of {small.name}"):
            await letters.write(letter)
        await letters.close()
        letters = own_letters(topic, kafka, producers)
        await letters.write(letter)
        await letters.close()
        (written,) = await records_of(customer_kafka, topic.name, 1)
    assert written.value == LARGER_THAN_OUR_TOPIC_TAKES


async def test_a_dead_letter_that_cannot_be_written_is_an_error(
    kafka: Kafka, producers: KafkaProducers
) -> None:
    nowhere = connection_of(kafka, bootstrap_servers=("127.0.0.1:1",))
    letters = KafkaDeadLetters(SUBSCRIBER, own=None, internal=nowhere, producers=producers)
    with pytest.raises(Unavailable, match="nothing listens there"):
        await letters.write(letter_of(delivery()))
    await letters.close()


async def test_all_who_need_a_new_producer_wait_for_the_same_start(
    kafka: Kafka, producers: KafkaProducers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_producers, "START_TIMEOUT_S", 0.5)
    starts: list[str] = []

    async def never(self: AIOKafkaProducer) -> None:
        starts.append("begun")
        await asyncio.Event().wait()

    monkeypatch.setattr(AIOKafkaProducer, "start", never)
    connection = connection_of(kafka)
    producer = producers.use(connection)
    sends = [producer.send("topic", key=b"k", value=b"v", headers=()) for _ in range(20)]
    results = await asyncio.gather(*sends, return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    assert starts == ["begun"]
    await producers.release(connection)


async def test_a_producer_that_ends_slowly_delays_only_the_close(
    customer_kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled worker sends last while its partitions are revoked: it has no time for this."""

    async def break_off(self: KafkaWriter, topic: str, **_: Any) -> None:
        raise KafkaConnectionError("closed")

    begun, may_end = asyncio.Event(), asyncio.Event()
    stop = AIOKafkaProducer.stop

    async def stop_slowly(self: AIOKafkaProducer) -> None:
        begun.set()
        await may_end.wait()
        await stop(self)

    producers = KafkaProducers()
    connection = connection_of(customer_kafka)
    async with kafka_topic(customer_kafka) as topic:
        producer = producers.use(connection)
        await producer.send(topic.name, key=b"k", value=b"v", headers=())
        with monkeypatch.context() as patch:
            patch.setattr(AIOKafkaProducer, "stop", stop_slowly)
            patch.setattr(KafkaWriter, "write", break_off)
            with pytest.raises(Unavailable):
                await producer.send(topic.name, key=b"k", value=b"v", headers=())
            assert not begun.is_set(), "nobody waited for the end of the producer that broke"
            await begun.wait()
            closing = asyncio.create_task(producers.close())
            await let_others_run()
            assert not closing.done()
            may_end.set()
            await closing


async def test_a_header_without_a_value_passes(kafka: Kafka, producers: KafkaProducers) -> None:
    await ensure_internal_topics(kafka.bootstrap_servers)
    async with kafka_topic(kafka) as topic:
        await topic.append(b"one", headers=(("empty", b""), ("null", None)))  # type: ignore[arg-type]
        async with reading(topic) as reader:
            (record,) = await reader.read(1)
    letters = KafkaDeadLetters(
        SUBSCRIBER, own=None, internal=connection_of(kafka), producers=producers
    )
    letter = letter_of(record._replace(offset=next(OFFSETS)))
    await letters.write(letter)
    await letters.close()
    written = await internal_letter(kafka, offset=str(letter.delivery.offset))
    assert written.headers[:2] == (("empty", b""), ("null", None))


async def test_an_own_topic_that_is_gone_keeps_the_letter_waiting(
    kafka: Kafka,
    customer_kafka: Kafka,
    producers: KafkaProducers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_writer, "SEND_TIMEOUT_S", 2.0)
    spec = replace(SUBSCRIBER, dead_letter_topic="gone", dead_letter_connection_id="c-1")
    letters = KafkaDeadLetters(
        spec,
        own=connection_of(customer_kafka),
        internal=connection_of(kafka),
        producers=producers,
    )
    with pytest.raises((NotFound, Unavailable), match="gone"):
        await letters.write(letter_of(delivery()))
    await letters.close()


def own_letters(topic: KafkaTopic, kafka: Kafka, producers: KafkaProducers) -> KafkaDeadLetters:
    spec = replace(SUBSCRIBER, dead_letter_topic=topic.name, dead_letter_connection_id="c-1")
    return KafkaDeadLetters(
        spec, own=topic.connection, internal=connection_of(kafka), producers=producers
    )
