"""How long a write waits, and what follows when its batch is refused, with a producer of aiokafka
that is told what to do."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownTopicOrPartitionError
from router.adapters import kafka_writer
from router.adapters.kafka_errors import InvalidRecordError
from router.adapters.kafka_sequences import keep_sequences
from router.adapters.kafka_writer import KafkaWriter, NotAcknowledged

from tests.support.offline_broker import TOPIC, OfflineBroker, compacted

TOO_LARGE = 10


class SilentProducer:
    """Takes a record when it is told to, and never says that it was written."""

    def __init__(self) -> None:
        self._message_accumulator = SimpleNamespace(_closed=False, _exception=None, _batches={})
        self._metadata = SimpleNamespace(_partitions={})
        self.takes = {"at once": asyncio.Event(), "late": asyncio.Event()}
        self.takes["at once"].set()

    async def send(self, topic: str, **_: Any) -> asyncio.Future[None]:
        await self.takes[topic].wait()
        return asyncio.get_running_loop().create_future()


async def test_a_record_that_found_its_batch_late_is_given_up_no_later_than_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_writer, "SWEEP_S", 0.01)
    monkeypatch.setattr(kafka_writer, "SEND_TIMEOUT_S", 0.2)
    producer = SilentProducer()
    writer = KafkaWriter(producer)

    async def write(topic: str) -> None:
        await writer.write(topic, key=b"k", value=b"v", headers=())

    late = asyncio.create_task(write("late"))
    await asyncio.sleep(0)
    monkeypatch.setattr(kafka_writer, "SEND_TIMEOUT_S", 60.0)
    others = asyncio.create_task(write("at once"))
    await asyncio.sleep(0)
    producer.takes["late"].set()
    with pytest.raises(NotAcknowledged):
        async with asyncio.timeout(10):
            await late
    assert not others.done()
    others.cancel()
    await asyncio.wait({others})


@pytest.mark.parametrize(("key", "left"), [(b"k", {}), (None, {}), (b"k", {TOPIC: {}})], ids=repr)
async def test_a_topic_that_is_gone_when_a_record_is_sent_again_alone_is_told(
    key: bytes | None, left: dict[str, Any]
) -> None:
    """Whoever wrote got a TypeError, which ended its flow's task."""

    def lose_topic(_: str, __: Sequence[Any]) -> int:
        producer._metadata._partitions = left
        return TOO_LARGE

    producer = AIOKafkaProducer(enable_idempotence=True)
    await OfflineBroker(lose_topic).start(producer)
    writer = KafkaWriter(producer)
    with pytest.raises(UnknownTopicOrPartitionError):
        await writer.write(TOPIC, key=key, value=b"v", headers=())
    await producer.stop()


async def test_a_record_without_a_key_keeps_nothing_else_out_of_a_compacted_topic() -> None:
    """It took all records of its batch with it, whenever it was tried again."""
    producer = AIOKafkaProducer(enable_idempotence=True)
    keep_sequences(producer, gap_left=lambda: pytest.fail("numbers were lost"))
    broker = OfflineBroker(compacted)
    await broker.start(producer)
    writer = KafkaWriter(producer)
    records = [(b"k", b"first"), (None, b"refused"), (b"l", b"second"), (b"k", b"third")]
    results = await asyncio.gather(
        *(writer.write(TOPIC, key=key, value=value, headers=()) for key, value in records),
        return_exceptions=True,
    )
    refused = results.pop(1)
    assert isinstance(refused, InvalidRecordError)
    assert results == [None, None, None]
    assert broker.values == [b"first", b"second", b"third"]
    await producer.stop()
