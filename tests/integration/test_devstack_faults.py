"""What was acknowledged survives kill -9, and a paused server is silent until it goes on."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from devstack import DevstackError, DiedAtStart, Kafka, NotOurs, NotRunning, Postgres, ports
from devstack.kafka_settings import Security

ANSWER_LIMIT_S = 0.5


@pytest_asyncio.fixture
async def own_postgres(tmp_path: Path) -> AsyncIterator[Postgres]:
    """A server that a test may break; on a named folder, so it may also be started again."""
    server = Postgres(tmp_path / "postgres")
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


async def test_a_committed_row_survives_kill_9_of_postgresql(own_postgres: Postgres) -> None:
    before = own_postgres.dsn
    connection = await asyncpg.connect(before)
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    own_postgres.kill()
    await own_postgres.restart()
    connection.terminate()
    assert own_postgres.dsn == before
    assert await _value(own_postgres.dsn) == 7


async def test_a_paused_postgresql_is_silent_and_goes_on(own_postgres: Postgres) -> None:
    own_postgres.process.pause()
    with pytest.raises(TimeoutError):
        await asyncpg.connect(own_postgres.dsn, timeout=ANSWER_LIMIT_S)
    own_postgres.process.resume()
    await (await asyncpg.connect(own_postgres.dsn)).close()


async def test_data_in_a_named_folder_is_found_by_the_next_server(own_postgres: Postgres) -> None:
    connection = await asyncpg.connect(own_postgres.dsn)
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    await connection.close()
    await own_postgres.stop()
    successor = Postgres(own_postgres.data_dir)
    try:
        await successor.start()
        assert await _value(successor.dsn) == 7
    finally:
        await successor.stop()


async def test_a_postgresql_that_cannot_start_names_its_log_and_the_reason(
    own_postgres: Postgres,
) -> None:
    with (own_postgres.data_dir / "cluster" / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")
    with pytest.raises(DiedAtStart) as refusal:
        await own_postgres.restart()
    assert str(own_postgres.log_path) in str(refusal.value)
    assert "no_such_setting" in str(refusal.value)


async def test_a_server_takes_other_ports_when_somebody_was_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as faster:
        taken: int = faster.getsockname()[1]
        offers, honest = iter([[taken]]), ports.free_ports
        monkeypatch.setattr(ports, "free_ports", lambda count: next(offers, None) or honest(count))
        second = Postgres()
        try:
            await second.start()
            assert f":{taken}/" not in second.dsn
            await (await asyncpg.connect(second.dsn)).close()
        finally:
            await second.stop()


async def test_a_postgresql_given_by_address_is_used_but_not_broken(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTFLOWS_DEVSTACK_POSTGRES_DSN", postgres.dsn)
    given = Postgres.from_environment()
    await given.start()
    assert given.dsn == postgres.dsn
    with pytest.raises(NotOurs):
        given.kill()
    await given.stop()
    await (await asyncpg.connect(postgres.dsn)).close()


async def test_a_reason_of_the_server_reaches_the_caller(postgres: Postgres) -> None:
    with pytest.raises(DevstackError, match='template database "devstack_absent" does not exist'):
        await postgres.create_database("devstack_copy", template="devstack_absent")


async def test_a_server_that_was_not_started_has_no_address() -> None:
    server = Postgres()
    try:
        with pytest.raises(NotRunning):
            _ = server.dsn
    finally:
        await server.stop()


@pytest.mark.parametrize("security", ["PLAINTEXT", "SASL_SSL"])
async def test_an_acknowledged_record_survives_kill_9_of_kafka(security: Security) -> None:
    broker = Kafka(security=security)
    try:
        await broker.start()
        await broker.create_topic("kept")
        before = broker.bootstrap_servers
        async with AIOKafkaProducer(**broker.client_settings(), acks="all") as producer:
            await producer.send_and_wait("kept", b"7")
        broker.kill()
        await broker.restart()
        assert broker.bootstrap_servers == before
        assert await _first_record(broker, "kept") == b"7"
    finally:
        await broker.stop()


async def test_a_kafka_that_cannot_start_names_its_log_and_the_reason() -> None:
    broker = Kafka(overrides={"num.io.threads": "0"})
    try:
        with pytest.raises(DevstackError, match=r"num\.io\.threads") as refusal:
            await broker.start()
        assert str(broker.data_dir) in str(refusal.value)
    finally:
        await broker.stop()


async def test_a_topic_that_the_broker_refuses_gives_its_reason(kafka: Kafka) -> None:
    with pytest.raises(DevstackError, match="InvalidTopic"):
        await kafka.create_topic("no spaces allowed")


async def _value(dsn: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("SELECT value FROM kept")
    finally:
        await connection.close()


async def _first_record(broker: Kafka, topic: str) -> bytes | None:
    async with AIOKafkaConsumer(**broker.client_settings()) as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek(partition, 0)
        record = await consumer.getone()
        return bytes(record.value)
