"""The shared servers answer by protocol, and nothing less counts as started."""

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError
from devstack import INTERNAL_RECORD_BYTES_MAX, Kafka, Postgres


async def test_postgresql_answers_queries_with_durable_writes(postgres: Postgres) -> None:
    connection = await asyncpg.connect(postgres.dsn)
    try:
        assert await connection.fetchval("SHOW fsync") == "on"
    finally:
        await connection.close()


async def test_a_database_is_cloned_from_a_template(postgres: Postgres) -> None:
    connection = await asyncpg.connect(await postgres.create_database("devstack_template"))
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    await connection.close()
    clone = await asyncpg.connect(
        await postgres.create_database("devstack_clone", "devstack_template")
    )
    try:
        assert await clone.fetchval("SELECT value FROM kept") == 7
    finally:
        await clone.close()


async def test_a_database_is_made_afresh_even_while_somebody_uses_it(postgres: Postgres) -> None:
    connection = await asyncpg.connect(await postgres.create_database("devstack_used"))
    await connection.execute("CREATE TABLE old ()")
    fresh = await asyncpg.connect(await postgres.create_database("devstack_used"))
    try:
        assert connection.is_closed() or not await _answers(connection)
        assert await fresh.fetchval("SELECT to_regclass('old')") is None
    finally:
        connection.terminate()
        await fresh.close()


async def test_a_wrong_postgresql_password_is_refused(postgres: Postgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.dsn, password="wrong")


async def test_our_kafka_takes_a_record_of_24_mib(kafka: Kafka) -> None:
    await kafka.create_topic("devstack-large")
    body = bytes(INTERNAL_RECORD_BYTES_MAX)
    settings = kafka.client_settings()
    async with AIOKafkaProducer(**settings, max_request_size=2 * len(body)) as producer:
        await producer.send_and_wait("devstack-large", body)
    assert await _first_record(kafka, "devstack-large") == body


async def test_creating_a_topic_again_changes_nothing(kafka: Kafka) -> None:
    await kafka.create_topic("devstack-twice", 3, {"cleanup.policy": "compact"})
    await kafka.create_topic("devstack-twice", 5)
    assert "devstack-twice" in await kafka.topics()
    async with AIOKafkaProducer(**kafka.client_settings()) as producer:
        assert await producer.partitions_for("devstack-twice") == {0, 1, 2}


async def test_the_customers_kafka_serves_a_user_with_password_over_tls(
    customer_kafka: Kafka,
) -> None:
    await customer_kafka.create_topic("devstack-orders")
    async with AIOKafkaProducer(**customer_kafka.client_settings()) as producer:
        await producer.send_and_wait("devstack-orders", b"first")
    assert await _first_record(customer_kafka, "devstack-orders") == b"first"


async def test_a_wrong_scram_password_is_refused(customer_kafka: Kafka) -> None:
    settings = customer_kafka.client_settings() | {"sasl_plain_password": "wrong"}
    producer = AIOKafkaProducer(**settings)
    try:
        with pytest.raises(KafkaConnectionError):
            await producer.start()
    finally:
        await producer.stop()


async def _answers(connection: asyncpg.Connection) -> bool:
    try:
        await connection.execute("SELECT 1")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError):
        return False
    return True


async def _first_record(kafka: Kafka, topic: str) -> bytes:
    async with AIOKafkaConsumer(
        **kafka.client_settings(), max_partition_fetch_bytes=2 * INTERNAL_RECORD_BYTES_MAX
    ) as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek(partition, 0)
        return bytes((await consumer.getone()).value)
