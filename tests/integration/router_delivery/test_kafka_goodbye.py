"""A consumer ends within its bound although nobody answers its goodbye."""

import asyncio
import os
import signal
import time

from aiokafka import AIOKafkaConsumer
from devstack import Kafka
from router.adapters.kafka_membership import stop_consumer

WAIT_S = 0.5
SLACK_S = 2.0


async def test_a_consumer_ends_in_time_although_a_frozen_broker_leaves_tls_waiting() -> None:
    broker = Kafka(name="frozen", security="SASL_SSL")
    try:
        await broker.start()
        await broker.create_topic("topic")
        consumer = AIOKafkaConsumer("topic", group_id=None, **broker.client_settings())
        async with asyncio.timeout(20):
            await consumer.start()
            await consumer.getmany(timeout_ms=300)
        os.kill(broker.process.pid, signal.SIGSTOP)
        began_s = time.monotonic()
        assert not await stop_consumer(consumer, wait_s=WAIT_S)
        assert time.monotonic() - began_s < 2 * WAIT_S + SLACK_S
    finally:
        os.kill(broker.process.pid, signal.SIGCONT)
        await broker.stop()
