"""What becomes of a record that its topic will never take."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from router.adapters.kafka_dead_letters import KafkaDeadLetters
from router.adapters.kafka_producers import KafkaProducers
from router.adapters.kafka_target import KafkaTarget
from router.domain.dead_letter import Attempt, History, dead_letter
from router.domain.delivery import Delivery, Run
from router.domain.flow_spec import KafkaTargetSpec
from router.domain.kafka_connection import KafkaConnection
from router.domain.outcome import SUCCEEDED, OutcomeKind, failed

from tests.support.offline_broker import LETTERS, TOPIC, OfflineBroker, compacted
from tests.support.router_flows import COMPLETION, PUBLISHER, SUBSCRIBER, delivery

CONNECTION = KafkaConnection(connection_id="c-1", bootstrap_servers=("127.0.0.1:9",))


def run(record: Delivery) -> Run:
    return Run(
        delivery=record,
        request_id="req-2",
        attempt=1,
        hops=5,
        traceparent="",
        named=dict(record.headers),
    )


async def test_a_record_that_its_topic_never_takes_is_refused_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its target was taken for one in trouble, which all others are kept away from."""
    broker = OfflineBroker(compacted)
    monkeypatch.setattr(AIOKafkaProducer, "start", lambda started: broker.start(started))
    producers = KafkaProducers()
    spec = replace(PUBLISHER, target=KafkaTargetSpec(connection_id="c-1", topic=TOPIC))
    target = KafkaTarget(spec, connection=CONNECTION, producers=producers)
    outcome = await target.invoke(run(delivery(key=None, headers=COMPLETION)))
    assert (outcome.kind, outcome.error_type) == (OutcomeKind.REFUSED, "InvalidRecord")
    assert "a compacted topic takes no record without a key" in outcome.error
    assert await target.invoke(run(delivery(headers=COMPLETION))) == SUCCEEDED
    assert len(broker.producers) == 1
    await target.close()
    await producers.close()


async def test_a_dead_letter_that_its_own_topic_never_takes_goes_to_the_internal_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was tried again for ever."""
    asked: list[str] = []

    def judge(topic: str, records: Sequence[Any]) -> int:
        asked.append(topic)
        return compacted(topic, records)

    broker = OfflineBroker(judge)
    monkeypatch.setattr(AIOKafkaProducer, "start", lambda started: broker.start(started))
    producers = KafkaProducers()
    spec = replace(SUBSCRIBER, dead_letter_topic=TOPIC, dead_letter_connection_id="c-1")
    letters = KafkaDeadLetters(spec, own=CONNECTION, internal=CONNECTION, producers=producers)
    outcome = failed(OutcomeKind.ALGORITHM_ERROR, "bad")
    history = History()
    history.add(Attempt(attempt=1, at=datetime.now(UTC), outcome=outcome))
    await letters.write(dead_letter(spec, delivery(key=None), history, request_id="req-1"))
    assert asked == [TOPIC, TOPIC, LETTERS]
    await letters.close()
    await producers.close()
