"""How long a write waits, with a producer of aiokafka that is told what to do."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from router.adapters import kafka_writer
from router.adapters.kafka_writer import KafkaWriter, NotAcknowledged


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
