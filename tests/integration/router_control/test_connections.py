"""Live questions about a customer's cluster, with credentials from a real registry's vault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from devstack import Kafka, Postgres
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2
from eventflows.router.v1 import router_pb2
from servicekit.identity import create_identities

from tests.integration.router_control.conftest import Routers, Worker
from tests.support.registry import Served, connection_request, fresh_database, served

WRONG_PASSWORD = "not the password of anybody"


@pytest_asyncio.fixture
async def real_registry(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Served]:
    """A registry on an empty database."""
    async with served(await fresh_database(postgres), tmp_path) as registry:
        yield registry


@pytest_asyncio.fixture
async def cluster(
    kafka: Kafka, real_registry: Served, tmp_path: Path
) -> AsyncIterator[tuple[Routers, Worker]]:
    """A ready worker that follows the real registry."""
    routers = Routers(
        kafka=kafka,
        registry_address=str(real_registry.address),
        identities=create_identities(tmp_path),
        folder=tmp_path,
        group_prefix=f"connections-{uuid4()}",
    )
    async with routers:
        yield routers, await routers.start("one")


def request_for(
    kafka: Kafka, *, password: str | None = None
) -> registry_pb2.CreateConnectionRequest:
    """A connection to this cluster."""
    request = connection_request(
        bootstrap_servers=[kafka.bootstrap_servers],
        security_protocol=events_pb2.SECURITY_PROTOCOL_SASL_SSL,
        ca_certificate=kafka.ca_pem or "",
        credentials=registry_pb2.Credential(
            username=kafka.username or "", password=password or kafka.password or ""
        ),
    )
    assert isinstance(request, registry_pb2.CreateConnectionRequest)
    return request


async def test_a_good_connection_is_reached_and_its_topics_are_listed(
    cluster: tuple[Routers, Worker], real_registry: Served, customer_kafka: Kafka
) -> None:
    routers, worker = cluster
    topic = f"router-control-{uuid4()}"
    await customer_kafka.create_topic(topic, 3)
    request = request_for(customer_kafka)
    async with real_registry.client() as registry:
        await registry.CreateConnection(request)
    async with routers.ask(worker) as stub:
        report = await stub.TestConnection(
            router_pb2.TestConnectionRequest(connection_id=request.connection_id)
        )
        assert (report.connected, report.problem, report.brokers) == (True, "", 1)
        topics = await stub.ListTopics(
            router_pb2.ListTopicsRequest(connection_id=request.connection_id)
        )
    assert {t.name: t.partitions for t in topics.topics}[topic] == 3
    assert [t.name for t in topics.topics] == sorted(t.name for t in topics.topics)
    assert not [t.name for t in topics.topics if t.name.startswith("__")]


async def test_a_wrong_password_is_an_answer_and_stands_in_no_log(
    cluster: tuple[Routers, Worker], real_registry: Served, customer_kafka: Kafka
) -> None:
    routers, worker = cluster
    request = request_for(customer_kafka, password=WRONG_PASSWORD)
    async with real_registry.client() as registry:
        await registry.CreateConnection(request)
    async with routers.ask(worker) as stub:
        report = await stub.TestConnection(
            router_pb2.TestConnectionRequest(connection_id=request.connection_id)
        )
        assert not report.connected
        assert "SASL" in report.problem
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ListTopics(router_pb2.ListTopicsRequest(connection_id=request.connection_id))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "SASL" in (refused.value.details() or "")
    told = worker.service.log_path.read_text() + report.problem + str(refused.value)
    assert WRONG_PASSWORD not in told


async def test_a_connection_that_is_on_its_way_is_waited_for(
    cluster: tuple[Routers, Worker], real_registry: Served, customer_kafka: Kafka
) -> None:
    routers, worker = cluster
    request = request_for(customer_kafka)
    async with routers.ask(worker) as stub, real_registry.client() as registry:
        asked = asyncio.ensure_future(
            stub.TestConnection(
                router_pb2.TestConnectionRequest(connection_id=request.connection_id)
            )
        )
        await registry.CreateConnection(request)
        assert (await asked).connected


async def test_an_unknown_connection_is_not_found_in_good_time(
    cluster: tuple[Routers, Worker],
) -> None:
    routers, worker = cluster
    async with routers.ask(worker) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.TestConnection(
                router_pb2.TestConnectionRequest(connection_id=str(uuid4())), timeout=5
            )
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
