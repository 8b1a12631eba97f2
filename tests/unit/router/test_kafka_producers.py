"""How a producer is asked for, and when another one takes its place."""

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from kernel.errors import NotAllowed
from router.adapters import kafka_producers
from router.adapters.kafka_producers import KafkaProducers
from router.domain.flow_spec import INTERNAL_CONNECTION
from router.domain.kafka_connection import KafkaConnection

from tests.support.offline_broker import NO_ERROR, TOPIC, OfflineBroker

CONNECTION = KafkaConnection(connection_id=INTERNAL_CONNECTION, bootstrap_servers=("127.0.0.1:9",))
TIMED_OUT, NOT_ALLOWED = 7, 29


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
    producers = KafkaProducers()
    producer = producers.use(CONNECTION)
    with pytest.raises(EnoughError):
        await producer.send("topic", key=b"k", value=b"v", headers=())
    await producers.close()
    assert (asked["enable_idempotence"], asked["acks"]) == (True, "all")


@pytest.mark.parametrize(("codes", "started"), [([NOT_ALLOWED], 1), ([TIMED_OUT, NOT_ALLOWED], 2)])
async def test_what_is_refused_costs_its_producer_only_if_it_was_sent_twice(
    monkeypatch: pytest.MonkeyPatch, codes: list[int], started: int
) -> None:
    """The next record of the partition was refused too, as out of order."""
    answers = [NO_ERROR, *codes]

    def judge(_: str, __: Sequence[Any]) -> int:
        return answers.pop(0) if answers else NO_ERROR

    broker = OfflineBroker(judge)
    monkeypatch.setattr(AIOKafkaProducer, "start", lambda started: broker.start(started))
    producers = KafkaProducers()
    producer = producers.use(CONNECTION)
    await producer.send(TOPIC, key=b"k", value=b"first", headers=())
    with pytest.raises(NotAllowed):
        await producer.send(TOPIC, key=b"k", value=b"refused", headers=())
    await producer.send(TOPIC, key=b"k", value=b"second", headers=())
    assert broker.values == [b"first", b"second"]
    assert len(broker.producers) == started
    await producers.close()
