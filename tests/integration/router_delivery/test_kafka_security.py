"""All the doors of a customer's broker, and what asking it never does. One broker for all tests."""

from collections.abc import AsyncIterator
from dataclasses import replace

import psutil
import pytest
import pytest_asyncio
from catalog.events import SecurityProtocol
from devstack import Kafka
from devstack.kafka_settings import Door
from kernel.errors import NotAllowed, NotFound
from router.adapters import kafka_clients
from router.adapters.kafka_probe import list_topics, probe
from router.adapters.kafka_producers import KafkaProducers
from router.adapters.memory_target import MemoryTarget
from router.domain.kafka_connection import KafkaConnection

from tests.support.kafka_acls import WITH_ACLS, group_denied
from tests.support.kafka_scram import set_password
from tests.support.router_flows import SUBSCRIBER
from tests.support.router_kafka_pumps import kafka_pump
from tests.support.router_sources import (
    Reader,
    connection_of,
    connection_through,
    kafka_source,
    kafka_topic,
    spec_of,
)

DOORS: tuple[Door, ...] = (
    "MTLS",
    "SASL_SSL_PLAIN",
    "SASL_PLAINTEXT_PLAIN",
    "SASL_PLAINTEXT_SCRAM_256",
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def broker() -> AsyncIterator[Kafka]:
    """Like many a customer's: ACLs, and topics that are made when they are asked for."""
    server = Kafka(
        name="doors",
        security="SASL_SSL",
        doors=DOORS,
        overrides=WITH_ACLS | {"auto.create.topics.enable": "true"},
    )
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


@pytest.mark.parametrize("door", DOORS)
async def test_a_flow_reads_and_writes_through_every_door(broker: Kafka, door: Door) -> None:
    connection = connection_through(broker, door)
    producers = KafkaProducers()
    producer = producers.use(connection)
    async with kafka_topic(broker) as topic:
        report = await probe(connection)
        assert (report.connected, report.problem) == (True, "")
        await producer.send(topic.name, key=b"k", value=b"one", headers=())
        source = kafka_source(topic.spec(), connection)
        reader = Reader(source)
        try:
            await source.open(reader)
            await reader.read(1)
            await reader.settle(1)
        finally:
            await source.close()
            await producers.close()
        assert reader.values == [b"one"]
        assert await topic.committed() == 1


@pytest.mark.parametrize("door", ["SASL_SSL_PLAIN", "SASL_PLAINTEXT_SCRAM_256"])
async def test_a_wrong_password_is_told_by_each_mechanism(broker: Kafka, door: Door) -> None:
    connection = replace(connection_through(broker, door), password="wrong-one")
    report = await probe(connection)
    mechanism = connection.sasl_mechanism
    assert f"the broker refused the user name or the password ({mechanism})" in report.problem
    assert "wrong-one" not in report.problem


async def test_a_missing_client_certificate_is_told(broker: Kafka) -> None:
    without = replace(connection_through(broker, "MTLS"), client_certificate="", client_key="")
    report = await probe(without)
    assert not report.connected
    assert "client certificate" in report.problem


async def test_new_credentials_lose_nothing_repeat_nothing_and_leave_no_old_connection(
    broker: Kafka,
) -> None:
    """What a changed secret leads to: another spec, so another pump, one after the other."""
    await set_password(broker, username="rotating", password="the-old-one")
    old = connection_of(broker, username="rotating", password="the-old-one")
    new = replace(old, password="the-new-one")
    target = MemoryTarget()
    async with kafka_topic(broker) as topic:
        numbers = [str(number).encode() for number in range(60)]
        for number in numbers[:20]:
            await topic.append(number)
        others = _ports_to(old)
        source = kafka_source(topic.spec(), old)
        async with kafka_pump(topic, target, source=source) as running:
            await running.until_settled(20)
            await set_password(broker, username="rotating", password="the-new-one")
            for number in numbers[20:40]:
                await topic.append(number)
            await running.until_settled(40)
            used = _ports_to(old) - others
            await running.pump.stop(grace_s=5)
        source = kafka_source(topic.spec(), new)
        async with kafka_pump(topic, target, source=source) as running:
            for number in numbers[40:]:
                await topic.append(number)
            await running.until_settled(20)
            await running.pump.stop(grace_s=5)
        assert target.values == numbers
        assert used
        assert not used & _ports_to(old)
    assert "refused the user name or the password" in (await probe(old)).problem


def _ports_to(connection: KafkaConnection) -> set[int]:
    """Our ends of the connections to that broker."""
    port = int(connection.bootstrap_servers[0].rpartition(":")[2])
    return {
        each.laddr.port
        for each in psutil.Process().net_connections("tcp")
        if each.raddr and each.raddr.port == port and each.status == psutil.CONN_ESTABLISHED
    }


async def test_asking_for_a_topic_makes_none(
    broker: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_clients, "REQUEST_TIMEOUT_S", 1.0)
    connection = connection_of(broker)
    producers = KafkaProducers()
    producer = producers.use(connection)
    spec = spec_of(SUBSCRIBER, topic="misspelt", group_id="eventflows-misspelt")
    source = kafka_source(spec, connection)
    try:
        with pytest.raises(NotFound, match="misspelt"):
            await source.open(Reader(source))
        with pytest.raises(NotFound, match="misspelt"):
            await producer.send("misspelt", key=None, value=b"1", headers=())
        assert "misspelt" not in {topic.name for topic in await list_topics(connection)}
    finally:
        await source.close()
        await producers.close()
    assert "misspelt" not in await broker.topics()


async def test_a_right_that_is_missing_is_named(broker: Kafka) -> None:
    async with kafka_topic(broker) as topic, group_denied(broker, topic.group_id):
        source = topic.source()
        reader = Reader(source)
        try:
            await source.open(reader)
            with pytest.raises(NotAllowed, match="READ on that group"):
                await reader.until(lambda: reader.assignments)
        finally:
            await source.close()


def test_secrets_are_in_no_text(broker: Kafka) -> None:
    connection = connection_through(broker, "MTLS")
    assert connection.client_key.startswith("-----BEGIN PRIVATE KEY-----")
    shown = repr(replace(connection, password="the-password"))
    assert "PRIVATE" not in shown
    assert "the-password" not in shown


def test_an_unnamed_protocol_is_refused() -> None:
    unnamed = KafkaConnection(
        connection_id="c",
        bootstrap_servers=("b:1",),
        security_protocol=SecurityProtocol.UNSPECIFIED,
    )
    with pytest.raises(Exception, match="security protocol must be named"):
        kafka_clients.client_settings(unnamed, client_id="c")
