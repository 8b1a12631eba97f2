"""Flows follow the credentials of their connection: a real registry and vault, a SASL broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import grpc.aio
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient
from catalog.events import ApiType
from catalog.identifiers import granted_flow_id
from devstack import Kafka, Postgres
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows.router.v1 import router_pb2
from servicekit.identity import create_identities

from tests.integration.router_control.conftest import Routers
from tests.integration.router_control.test_flows import bodies_of, until_asked
from tests.support.kafka_scram import set_password
from tests.support.produce import produce_values
from tests.support.registry import (
    Database,
    Served,
    account_request,
    connection_request,
    context,
    fresh_database,
    served,
)
from tests.support.router_runner import Runner, running_runner

FLOW_USER = "flow-user"
FIRST_PASSWORD = "the first password"
SECOND_PASSWORD = "the second password"
TIMEOUT_S = 10.0
PASSWORD_NOTICED_TIMEOUT_S = 60.0


@pytest_asyncio.fixture
async def runner() -> AsyncIterator[Runner]:
    """A runner that answers every run with a result."""
    async with running_runner() as running:
        yield running


@pytest_asyncio.fixture
async def database(postgres: Postgres) -> Database:
    """Migrated and empty."""
    return await fresh_database(postgres)


@pytest_asyncio.fixture
async def real_registry(database: Database, tmp_path: Path) -> AsyncIterator[Served]:
    """The real service on that database."""
    async with served(database, tmp_path) as registry:
        yield registry


@pytest_asyncio.fixture
async def workers(kafka: Kafka, real_registry: Served, tmp_path: Path) -> AsyncIterator[Routers]:
    """Workers of this cluster follow the real registry."""
    routers = Routers(
        kafka=kafka,
        registry_address=str(real_registry.address),
        identities=create_identities(tmp_path),
        folder=tmp_path,
        group_prefix=f"credentials-{uuid4()}",
    )
    async with routers:
        yield routers


@dataclass(frozen=True, slots=True, kw_only=True)
class Wired:
    """An enabled subscriber flow on a topic of a connection."""

    flow_id: str
    topic: str
    connection: pb.CreateConnectionRequest

    def update(self, password: str) -> pb.UpdateConnectionRequest:
        """The same connection with this password."""
        made = self.connection
        return pb.UpdateConnectionRequest(
            context=context(),
            connection_id=made.connection_id,
            name=made.name,
            bootstrap_servers=list(made.bootstrap_servers),
            security_protocol=made.security_protocol,
            sasl_mechanism=made.sasl_mechanism,
            ca_certificate=made.ca_certificate,
            credentials=pb.Credential(username=FLOW_USER, password=password),
        )


async def wired(registry: Served, broker: Kafka, password: str, **fields: object) -> Wired:
    """A published algorithm that subscribes to a new topic. `fields` are the connection's."""
    topic = f"credentials-{uuid4()}"
    await broker.create_topic(topic, 1)
    account, algorithm_id = account_request("acme"), str(uuid4())
    given = {
        "bootstrap_servers": [broker.bootstrap_servers],
        "ca_certificate": broker.ca_pem or "",
        "credentials": pb.Credential(username=FLOW_USER, password=password),
        **fields,
    }
    connection = connection_request(**given)
    now = datetime.now(UTC)
    async with registry.client() as client:
        await client.CreateAccount(account)
        await client.CreateAlgorithm(
            pb.CreateAlgorithmRequest(
                context=context(),
                algorithm_id=algorithm_id,
                owner_id=account.account_id,
                name="echo",
                source_kind=events_pb2.SOURCE_KIND_GIT,
                source_url="file:///srv/echo",
            )
        )
        finished: dict[str, Any] = {"started_at": now, "finished_at": now}
        await client.FinishBuild(
            pb.FinishBuildRequest(
                context=context(),
                algorithm_id=algorithm_id,
                build_id=str(uuid4()),
                commit_sha="a" * 40,
                succeeded=True,
                **finished,
            )
        )
        await client.PublishVersion(
            pb.PublishVersionRequest(
                context=context(),
                algorithm_id=algorithm_id,
                callability=events_pb2.CALLABILITY_PUBLIC,
            )
        )
        await client.CreateConnection(connection)
        grant = events_pb2.Grant(algorithm_id=algorithm_id, api_type=events_pb2.API_TYPE_SUBSCRIBER)
        await client.SetTopicAccess(
            pb.SetTopicAccessRequest(
                context=context(),
                connection_id=connection.connection_id,
                topic=topic,
                grants=[grant],
            )
        )
        flow_id = granted_flow_id(
            connection_id=connection.connection_id,
            topic=topic,
            algorithm_id=algorithm_id,
            api_type=ApiType.SUBSCRIBER,
        )
        await client.EnableFlow(pb.EnableFlowRequest(context=context(), flow_id=flow_id))
    return Wired(flow_id=flow_id, topic=topic, connection=connection)


async def test_a_flow_goes_on_with_the_new_password_after_the_old_one_stopped_being_valid(
    workers: Routers, real_registry: Served, runner: Runner
) -> None:
    broker = Kafka(name="changing-kafka", security="SASL_SSL")
    try:
        await broker.start()
        await set_password(broker, username=FLOW_USER, password=FIRST_PASSWORD)
        flow = await wired(real_registry, broker, FIRST_PASSWORD)
        worker = await workers.start("one", runner_url=runner.url)
        first = bodies_of("first")
        await produce_values(broker, flow.topic, first)
        await until_asked(runner, {value for _, value in first})

        await set_password(broker, username=FLOW_USER, password=SECOND_PASSWORD)
        await broker.restart()  # connections that stand would go on with what they once entered
        second = bodies_of("second")
        await produce_values(broker, flow.topic, second)
        backing_off = router_pb2.FLOW_STATE_BACKING_OFF
        await workers.until_flows(
            worker,
            lambda seen: seen[flow.flow_id].state == backing_off,
            timeout_s=PASSWORD_NOTICED_TIMEOUT_S,
        )
        assert len(runner.asked) == len(first), "the old password is of no use any more"

        async with real_registry.client() as client:
            await client.UpdateConnection(flow.update(SECOND_PASSWORD))
        await until_asked(runner, {value for _, value in second})
        running = router_pb2.FLOW_STATE_RUNNING
        await workers.until_flows(worker, lambda seen: seen[flow.flow_id].state == running)
    finally:
        await broker.stop()
    log = worker.service.log_path.read_text()
    assert FIRST_PASSWORD not in log
    assert SECOND_PASSWORD not in log


async def test_a_flow_enters_by_a_client_certificate_in_a_group_of_its_connections_prefix(
    workers: Routers, real_registry: Served, runner: Runner
) -> None:
    broker = Kafka(name="certified-kafka", security="SASL_SSL", doors=["MTLS"])
    try:
        await broker.start()
        certificate, key = broker.client_pem
        flow = await wired(
            real_registry,
            broker,
            "",
            bootstrap_servers=[broker.door("MTLS")],
            security_protocol=events_pb2.SECURITY_PROTOCOL_SSL,
            sasl_mechanism="",
            client_certificate=certificate,
            credentials=pb.Credential(client_key=key),
            group_prefix="acme.",
        )
        worker = await workers.start("one", runner_url=runner.url)
        records = bodies_of("certified")
        await produce_values(broker, flow.topic, records)
        await until_asked(runner, {value for _, value in records})
        admin = AIOKafkaAdminClient(**broker.client_settings())
        await admin.start()
        try:
            groups = {group for group, _ in await admin.list_consumer_groups()}
        finally:
            await admin.close()
        assert groups == {f"acme.{flow.flow_id}"}
    finally:
        await broker.stop()
    log = worker.service.log_path.read_text()
    assert not any(line in log for line in key.splitlines())


async def test_a_flow_whose_credentials_the_vault_lost_is_blocked_until_they_are_entered(
    workers: Routers,
    real_registry: Served,
    database: Database,
    customer_kafka: Kafka,
    runner: Runner,
) -> None:
    """As after an import: the log has the connection, the vault does not have its secret."""
    await set_password(customer_kafka, username=FLOW_USER, password=FIRST_PASSWORD)
    flow = await wired(real_registry, customer_kafka, FIRST_PASSWORD)
    owner = await asyncpg.connect(database.owner_dsn, timeout=TIMEOUT_S)
    try:
        await owner.execute("DELETE FROM vault.data_keys")
    finally:
        await owner.close()
    records = bodies_of("waiting")
    await produce_values(customer_kafka, flow.topic, records)
    worker = await workers.start("one", runner_url=runner.url)
    blocked = router_pb2.FLOW_STATE_BLOCKED
    flows = await workers.until_flows(
        worker, lambda seen: flow.flow_id in seen and seen[flow.flow_id].state == blocked
    )
    reason = flows[flow.flow_id].reason
    assert f"{flow.connection.name} has no credentials: let an admin enter" in reason
    assert (await worker.health())["flows"] == {"blocked": 1}
    assert runner.asked == []
    ids = {"connection_id": flow.connection.connection_id}
    async with workers.ask(worker) as stub:
        tried = await stub.TestConnection(router_pb2.TestConnectionRequest(**ids))
        assert (tried.connected, tried.problem) == (False, reason)
        with pytest.raises(grpc.aio.AioRpcError, match="has no credentials") as caught:
            await stub.ListTopics(router_pb2.ListTopicsRequest(**ids))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    async with real_registry.client() as client:
        assert (await client.UpdateConnection(flow.update(FIRST_PASSWORD))).changed
    await until_asked(runner, {value for _, value in records})
    assert (await worker.health())["flows"] == {"running": 1}


async def test_shredding_stops_a_running_flow_and_new_credentials_let_it_go_on(
    workers: Routers, real_registry: Served, customer_kafka: Kafka, runner: Runner
) -> None:
    await set_password(customer_kafka, username=FLOW_USER, password=FIRST_PASSWORD)
    flow = await wired(real_registry, customer_kafka, FIRST_PASSWORD)
    worker = await workers.start("one", runner_url=runner.url)
    first, second = bodies_of("first"), bodies_of("second")
    await produce_values(customer_kafka, flow.topic, first)
    await until_asked(runner, {value for _, value in first})
    async with real_registry.client("operator") as operator:
        shred = pb.ShredSecretsRequest(context=context(), stream_id=flow.connection.connection_id)
        assert (await operator.ShredSecrets(shred)).changed
    await worker.until(lambda health: health["flows"] == {"blocked": 1})
    await produce_values(customer_kafka, flow.topic, second)
    async with real_registry.client() as client:
        await client.UpdateConnection(flow.update(FIRST_PASSWORD))
    await until_asked(runner, {value for _, value in second})
    bodies = [asked.body for asked in runner.asked]
    assert sorted(bodies) == sorted(value for _, value in (*first, *second)), "each once"
