"""A user is told which step failed and what to do about it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from catalog.events import SecurityProtocol
from devstack import Kafka
from kernel.errors import StateForbids, Unavailable
from router.adapters import kafka_probe
from router.adapters.kafka_probe import TopicListing, list_topics, probe
from router.domain.kafka_connection import KafkaConnection

from tests.support.router_flows import SUBSCRIBER
from tests.support.router_sources import Reader, connection_of, kafka_source, kafka_topic


async def problem_of(connection: KafkaConnection) -> str:
    report = await probe(connection)
    assert not report.connected
    assert connection.password == "" or connection.password not in report.problem
    return report.problem


@pytest.fixture(params=["kafka", "customer_kafka"])
def any_kafka(request: pytest.FixtureRequest) -> Kafka:
    server: Kafka = request.getfixturevalue(request.param)
    return server


async def test_a_good_connection_is_counted(any_kafka: Kafka) -> None:
    async with kafka_topic(any_kafka, 3) as topic:
        report = await probe(connection_of(any_kafka))
        assert (report.connected, report.problem, report.brokers) == (True, "", 1)
        assert report.topics >= 1
        assert 0 < report.duration_s < 30
        listed = await list_topics(connection_of(any_kafka))
        assert TopicListing(name=topic.name, partitions=3) in listed
        names = [each.name for each in listed]
        assert names == sorted(names)
        assert not [name for name in names if name.startswith("__")]


async def test_a_wrong_password_is_told(customer_kafka: Kafka) -> None:
    problem = await problem_of(connection_of(customer_kafka, password="wrong-one"))
    assert "SASL: the broker refused the user name or the password (SCRAM-SHA-512)" in problem


async def test_a_mechanism_that_is_not_offered_is_told(customer_kafka: Kafka) -> None:
    problem = await problem_of(connection_of(customer_kafka, sasl_mechanism="PLAIN"))
    assert problem.endswith("SASL: the broker does not offer PLAIN")


async def test_a_certificate_that_is_not_trusted_is_told(customer_kafka: Kafka) -> None:
    problem = await problem_of(connection_of(customer_kafka, ca_certificate=""))
    assert "TLS: the broker's certificate is not trusted" in problem
    assert "give the CA certificate" in problem


async def test_text_that_is_no_certificate_is_told(customer_kafka: Kafka) -> None:
    problem = await problem_of(connection_of(customer_kafka, ca_certificate="hello"))
    assert problem == "the CA certificate is no PEM text with a certificate"


async def test_a_port_without_tls_is_told(kafka: Kafka, customer_kafka: Kafka) -> None:
    tls = connection_of(customer_kafka, bootstrap_servers=(kafka.bootstrap_servers,))
    assert "TLS" in await problem_of(tls)


async def test_a_port_that_expects_tls_is_told(customer_kafka: Kafka) -> None:
    plain = connection_of(
        customer_kafka, security_protocol=SecurityProtocol.PLAINTEXT, username="", password=""
    )
    assert "does it expect TLS on this port?" in await problem_of(plain)


async def test_an_address_where_nothing_listens_is_told(kafka: Kafka) -> None:
    connection = connection_of(kafka, bootstrap_servers=("127.0.0.1:1",))
    assert await problem_of(connection) == (
        "127.0.0.1:1: nothing listens there; check address and port"
    )


async def test_a_name_that_does_not_resolve_is_told(kafka: Kafka) -> None:
    connection = connection_of(kafka, bootstrap_servers=("kafka.invalid:9092",))
    assert "cannot be resolved" in await problem_of(connection)


@pytest.mark.parametrize("server", ["host", "host:port", "host:0x1"])
async def test_an_address_of_another_form_is_told(kafka: Kafka, server: str) -> None:
    connection = connection_of(kafka, bootstrap_servers=(server,))
    assert await problem_of(connection) == f"{server}: servers are given as host:port"


async def test_a_server_that_never_answers_is_told_in_time(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_probe, "CONNECT_TIMEOUT_S", 0.3)
    async with silent_server() as server:
        connection = connection_of(kafka, bootstrap_servers=(server,))
        assert await problem_of(connection) == f"{server}: no answer in 0.3 s; check the firewall"


async def test_one_good_server_of_several_is_enough(kafka: Kafka) -> None:
    connection = connection_of(kafka, bootstrap_servers=("127.0.0.1:1", kafka.bootstrap_servers))
    assert (await probe(connection)).connected


async def test_topics_of_a_cluster_that_is_away_are_refused_with_the_cause(kafka: Kafka) -> None:
    with pytest.raises(StateForbids, match="nothing listens there"):
        await list_topics(connection_of(kafka, bootstrap_servers=("127.0.0.1:1",)))


async def test_a_source_tells_the_same_cause(customer_kafka: Kafka) -> None:
    wrong = connection_of(customer_kafka, password="wrong-one")
    source = kafka_source(SUBSCRIBER, wrong)
    with pytest.raises(Exception, match="refused the user name or the password") as caught:
        await source.open(Reader(source))
    assert not isinstance(caught.value, Unavailable)
    await source.close()


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Accepts and says nothing."""
    ended = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        ended.set()
        server.close()
        await server.wait_closed()
