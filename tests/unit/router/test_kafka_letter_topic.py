"""How long a scan of a topic of dead letters waits. What it reads: tests/ports/letter_topic."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from aiokafka import TopicPartition
from kernel.errors import Unavailable
from router.adapters import kafka_letter_topic
from router.adapters.kafka_letter_topic import KafkaLetterTopic
from router.domain.kafka_connection import KafkaConnection

ONE = TopicPartition("letters", 0)


class SilentConsumer:
    """aiokafka's, with a broker that has a record and never hands it out."""

    def __init__(self, **_: Any) -> None:
        self._client = self

    async def start(self) -> None:
        """Nothing is to do."""

    async def stop(self) -> None:
        """Nothing is to do."""

    async def add_topic(self, topic: str) -> None:
        """It is there."""

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {ONE.partition}

    async def beginning_offsets(self, _: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {ONE: 0}

    async def end_offsets(self, _: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {ONE: 1}

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Nothing is to do."""

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Nothing is to do."""

    async def getmany(self, *_: TopicPartition, **__: int) -> Mapping[TopicPartition, Any]:
        await asyncio.sleep(0)
        return {}

    async def position(self, _: TopicPartition) -> int:
        return 0


async def test_a_scan_does_not_wait_for_ever_for_what_does_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_letter_topic, "AIOKafkaConsumer", SilentConsumer)
    monkeypatch.setattr(kafka_letter_topic, "CALL_TIMEOUT_S", 0.05)

    async def connect() -> KafkaConnection:
        return KafkaConnection(connection_id="connection-1", bootstrap_servers=("127.0.0.1:9",))

    topic = KafkaLetterTopic(connect, topic=ONE.topic, client_id="letters")
    with pytest.raises(Unavailable, match="no answer in time"):
        async with aclosing(topic.forwards({ONE.partition: (0, 1)})) as batches:
            await anext(batches)
