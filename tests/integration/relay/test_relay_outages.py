"""The relay as a process while others fail: it waits, goes on by itself, and ends when it is told.

What it wrote is compared with the log and its catalog: nothing skipped, repeated, or out of order.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from catalog import aggregates, snapshot
from catalog.catalog import Catalog
from catalog.kinds import AggregateKind
from devstack import Kafka, Postgres
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows_cli.exit_codes import REFUSED, TERMINATED, USAGE
from eventflows_cli.relay.kafka_log import ABORT_TIMEOUT_S, STOP_TIMEOUT_S, WRITE_TIMEOUT_S
from eventflows_cli.relay.records import of_state
from registry.adapters.postgres_event_store import PostgresEventStore

from tests.integration.relay.test_relay_process import (
    committed,
    header,
    relay,
    relayed,
    written,
)
from tests.support.long_log import fill
from tests.support.registry import (
    Database,
    Served,
    account_request,
    context,
    fresh_database,
    served,
)
from tests.support.registry_process import RegistryProcess, registry_process

STOP_MAX_S = 10.0
SAID_MAX_S = 60.0
SLACK_S = 5.0
EVENTS = 2_500
TOPICS = 300


@pytest.fixture
async def own_kafka() -> AsyncIterator[Kafka]:
    """A broker that this test may kill."""
    server = Kafka(name="killed-kafka")
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


async def said(process: asyncio.subprocess.Process, words: str) -> str:
    """The line of stderr with these words, waited for."""
    assert process.stderr is not None
    async with asyncio.timeout(SAID_MAX_S):
        while line := (await process.stderr.readline()).decode():
            if words in line:
                return line
    raise AssertionError(f"the relay ended without saying {words!r}")


async def create_accounts(registry: Served | RegistryProcess, name: str, count: int) -> None:
    async with registry.client() as client:
        for number in range(count):
            await client.CreateAccount(account_request(f"{name}{number}"))


async def positions(kafka: Kafka, topic: str) -> list[int]:
    return [int(header(one, "ce_position")) for one in await committed(kafka, topic)]


async def test_a_registry_that_was_killed_is_waited_for(
    postgres: Postgres, kafka: Kafka, tmp_path: Path, topics: tuple[str, str]
) -> None:
    async with registry_process(await fresh_database(postgres), tmp_path) as registry:
        await create_accounts(registry, "before", 3)
        async with relay(registry, kafka, topics) as process:
            await written(kafka, topics[0], more_than=2)
            registry.kill()
            assert "the relay waits" in await said(process, "cannot be reached")
            await registry.start()
            await create_accounts(registry, "after", 3)
            await said(process, "goes on after position 3")
            await written(kafka, topics[0], more_than=5)
    assert await positions(kafka, topics[0]) == [1, 2, 3, 4, 5, 6]
    assert await positions(kafka, topics[1]) == [1, 2, 3, 4, 5, 6]


@pytest.mark.fault
async def test_a_kafka_that_was_killed_is_waited_for(
    database: Database, own_kafka: Kafka, tmp_path: Path, topics: tuple[str, str]
) -> None:
    async with served(database, tmp_path) as registry:
        await create_accounts(registry, "before", 3)
        async with relay(registry, own_kafka, topics) as process:
            await written(own_kafka, topics[0], more_than=2)
            own_kafka.kill()
            await create_accounts(registry, "meanwhile", 3)
            before_s = time.monotonic()
            await said(process, "the relay waits")
            bound_s = WRITE_TIMEOUT_S + ABORT_TIMEOUT_S + 3 * STOP_TIMEOUT_S
            assert time.monotonic() - before_s < bound_s + SLACK_S
            await own_kafka.restart()
            await said(process, "goes on after position")
            await create_accounts(registry, "after", 3)
            await written(own_kafka, topics[0], more_than=8)
    assert await positions(own_kafka, topics[0]) == list(range(1, 10))
    assert await positions(own_kafka, topics[1]) == list(range(1, 10))


@pytest.mark.parametrize("away", ["nothing", "registry", "kafka"])
async def test_sigterm_ends_it_at_once_and_whole(
    postgres: Postgres, own_kafka: Kafka, tmp_path: Path, topics: tuple[str, str], away: str
) -> None:
    async with registry_process(await fresh_database(postgres), tmp_path) as registry:
        await create_accounts(registry, "user", 3)
        async with relay(registry, own_kafka, topics) as process:
            await written(own_kafka, topics[0], more_than=2)
            if away == "registry":
                registry.kill()
                await said(process, "the relay waits")
            elif away == "kafka":
                own_kafka.kill()
                await create_accounts(registry, "more", 1)
                await said(process, "Unable")  # a transaction waits for Kafka
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(STOP_MAX_S):
                _, err = await process.communicate()
            assert process.returncode == TERMINATED, err
            assert b"Traceback" not in err


async def states_of(registry: Served) -> dict[bytes, bytes]:
    """Every aggregate of the log's catalog, as the state topic should have it."""
    async with registry.client("operator") as client:
        head = (await client.GetHead(pb.GetHeadRequest())).position
        request = pb.ReadCatalogRequest(as_of=pb.AsOf(position=head), fold=snapshot.FOLD)
        catalog: Catalog = snapshot.restore(
            [part.data async for part in client.ReadCatalog(request)]
        )
    found = {}
    for kind in set(AggregateKind) - {AggregateKind.UNSPECIFIED}:
        for state in aggregates.listed(catalog, kind):
            record = of_state(
                events_pb2.RecordedEvent(),
                aggregates.id_of(state),
                aggregates.to_message(state),
                source="/",
            )
            assert record.value is not None
            found[record.key] = record.value
    return found


async def test_the_newest_states_are_those_of_the_catalog(
    database: Database, kafka: Kafka, tmp_path: Path, topics: tuple[str, str]
) -> None:
    async with PostgresEventStore(database.log_dsn) as store:
        await fill(store, EVENTS, topics=TOPICS)
    async with served(database, tmp_path) as registry:
        deleted: list[bytes] = []
        for _ in range(2):
            code, _, err = await relayed(registry, kafka, topics)
            assert code == 0, err
            records = await committed(kafka, topics[1])
            newest = {one.key: one.value for one in records}
            assert {key: value for key, value in newest.items() if value} == await states_of(
                registry
            )
            assert [key for key, value in newest.items() if value is None] == deleted
            (connection, *_) = (
                one.key
                for one in records
                if one.value and header(one, "ce_type") == "eventflows.connection.state.v1"
            )
            async with registry.client() as client:
                await client.DeleteConnection(
                    pb.DeleteConnectionRequest(context=context(), connection_id=connection.decode())
                )
            deleted.append(connection)
    order = [int(header(one, "ce_position")) for one in records]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--topic", "a topic"), "--topic must have"),
        (("--state-topic", ""), "--state-topic must have"),
        (("--kafka", "nonsense:port"), "--kafka must be host:port"),
        (("--kafka", "127.0.0.1:99999"), "--kafka must have a port of at most"),
        (("--kafka", "127.0.0.1:1", "--kafka-file", "relay.toml"), "either --kafka or"),
        (("--source", "two words"), "--source must have"),
        (("--source", ""), "--source must have"),
    ],
)
async def test_options_that_cannot_be_meant_are_refused_with_one_sentence(
    registry: Served, kafka: Kafka, topics: tuple[str, str], options: tuple[str, ...], sentence: str
) -> None:
    async with relay(registry, kafka, topics, *options) as process:
        async with asyncio.timeout(STOP_MAX_S):
            _, err = await process.communicate()
    assert process.returncode == USAGE
    assert sentence in err.decode()
    assert len(err.decode().splitlines()) == 1


async def test_another_state_topic_would_lack_states_and_is_refused(
    registry: Served, kafka: Kafka, topics: tuple[str, str]
) -> None:
    await create_accounts(registry, "user", 2)
    assert (await relayed(registry, kafka, topics))[0] == 0
    code, _, err = await relayed(registry, kafka, (topics[0], f"{topics[1]}-other"))
    assert code == REFUSED
    assert "written together" in err


def settings_file(folder: Path, kafka: Kafka, password: str) -> Path:
    """What `--kafka-file` names, for a cluster with SASL over TLS."""
    assert kafka.ca_pem is not None
    (folder / "kafka.password").write_text(f"{password}\n")
    (folder / "kafka-ca.pem").write_text(kafka.ca_pem)
    path = folder / "relay.toml"
    path.write_text(
        f'bootstrap_servers = ["{kafka.bootstrap_servers}"]\nsecurity_protocol = "SASL_SSL"\n'
        f'username = "{kafka.username}"\npassword_file = "kafka.password"\n'
        'ca_file = "kafka-ca.pem"\n'
    )
    return path


async def test_a_wrong_password_is_told_and_never_shown_and_the_right_one_works(
    registry: Served, customer_kafka: Kafka, tmp_path: Path, topics: tuple[str, str]
) -> None:
    await create_accounts(registry, "user", 1)
    wrong = f"wrong-{uuid4().hex}"
    file = settings_file(tmp_path, customer_kafka, wrong)
    options = ("--kafka-file", str(file), "--until-head")
    async with relay(registry, customer_kafka, topics, *options) as process:
        told = await said(process, "SaslAuthenticationFailed")
        told += await said(process, "the relay waits")
        process.terminate()
        out, err = await process.communicate()
    assert process.returncode == TERMINATED
    assert wrong not in told + out.decode() + err.decode()
    settings_file(tmp_path, customer_kafka, str(customer_kafka.password))
    async with relay(registry, customer_kafka, topics, *options) as process:
        async with asyncio.timeout(SAID_MAX_S):
            out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert await positions(customer_kafka, topics[0]) == [1]
