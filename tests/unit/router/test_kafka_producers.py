"""How a producer is asked for."""

from typing import Any

import pytest
from router.adapters import kafka_producers
from router.adapters.kafka_producers import KafkaProducers
from router.domain.flow_spec import INTERNAL_CONNECTION
from router.domain.kafka_connection import KafkaConnection


class EnoughError(Exception):
    """It is known what was to be seen."""


async def test_producers_are_idempotent_and_wait_for_all_replicas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}

    def ask(**settings: Any) -> None:
        asked.update(settings)
        raise EnoughError

    monkeypatch.setattr(kafka_producers, "AIOKafkaProducer", ask)
    connection = KafkaConnection(
        connection_id=INTERNAL_CONNECTION, bootstrap_servers=("127.0.0.1:9",)
    )
    producers = KafkaProducers()
    producer = producers.use(connection)
    with pytest.raises(EnoughError):
        await producer.send("topic", key=b"k", value=b"v", headers=())
    await producers.close()
    assert (asked["enable_idempotence"], asked["acks"]) == (True, "all")
