"""Whoever talks to a Kafka over TLS ends within a bound although nobody answers the goodbye."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from devstack import Kafka
from eventflows_cli.relay import kafka_log
from eventflows_cli.relay.records import POSITION_HEADER, Record
from kernel.errors import Unavailable
from servicekit.kafka_goodbye import stop_consumer, stop_producer

WAIT_S = 0.5
SLACK_S = 2.0


class Frost(logging.Handler):
    """Freezes a broker when a client of it begins to read."""

    def __init__(self, broker: Kafka) -> None:
        super().__init__(logging.DEBUG)
        self._broker = broker

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith("Adding fetch request"):
            os.kill(self._broker.process.pid, signal.SIGSTOP)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tls_broker() -> AsyncIterator[Kafka]:
    broker = Kafka(name="frozen", security="SASL_SSL")
    try:
        await broker.start()
        yield broker
    finally:
        await broker.stop()


@pytest.fixture
def broker(tls_broker: Kafka) -> Iterator[Kafka]:
    """A broker that a test may freeze."""
    yield tls_broker
    os.kill(tls_broker.process.pid, signal.SIGCONT)


async def test_a_consumer_ends_in_time_although_a_frozen_broker_leaves_tls_waiting(
    broker: Kafka,
) -> None:
    await broker.create_topic("topic")
    consumer = AIOKafkaConsumer("topic", group_id=None, **broker.client_settings())
    async with asyncio.timeout(20):
        await consumer.start()
        await consumer.getmany(timeout_ms=300)
    os.kill(broker.process.pid, signal.SIGSTOP)
    began_s = time.monotonic()
    assert not await stop_consumer(consumer, wait_s=WAIT_S)
    assert time.monotonic() - began_s < 2 * WAIT_S + SLACK_S


async def test_a_producer_ends_in_time_although_a_frozen_broker_takes_nothing(
    broker: Kafka,
) -> None:
    await broker.create_topic("topic")
    producer = AIOKafkaProducer(**broker.client_settings(), enable_idempotence=True)
    async with asyncio.timeout(20):
        await producer.start()
        await producer.send_and_wait("topic", b"one")
    os.kill(broker.process.pid, signal.SIGSTOP)
    left = await producer.send("topic", b"two")
    began_s = time.monotonic()
    assert not await stop_producer(producer, wait_s=WAIT_S)
    assert time.monotonic() - began_s < 3 * WAIT_S + SLACK_S
    assert isinstance(left.exception(), OSError | KafkaError)


async def test_a_relay_is_told_in_time_of_a_broker_that_freezes_while_it_reads(
    broker: Kafka, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kafka_log, "READ_TIMEOUT_S", 3.0)
    monkeypatch.setattr(kafka_log, "STOP_TIMEOUT_S", WAIT_S)
    one = Record(key=b"k", value=b"{}", headers=((POSITION_HEADER, b"1"),))
    fetcher = logging.getLogger("aiokafka.consumer.fetcher")
    frost = Frost(broker)
    settings = broker.client_settings()
    async with kafka_log.KafkaLog(settings, full_topic="full", state_topic="state") as log:
        await log.write([one], [one])
        caplog.set_level(logging.DEBUG, logger=fetcher.name)
        fetcher.addHandler(frost)
        began_s = time.monotonic()
        try:
            with pytest.raises(Unavailable, match="no answer in time"):
                await log.last()
        finally:
            fetcher.removeHandler(frost)
        assert time.monotonic() - began_s < 3.0 + 3 * WAIT_S + SLACK_S
