"""`eventflows log relay` as a process: killed in the midst of its work, and beside another log."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from aiokafka import ConsumerRecord, TopicPartition
from devstack import Kafka, Postgres
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb

from tests.support.kafka_clients import consuming
from tests.support.registry import (
    Served,
    account_request,
    connection_request,
    context,
    fresh_database,
    served,
)
from tests.support.registry_process import RegistryProcess

CHANGES = 60
KILLS = 4
WAIT_S = 60.0
EVENTFLOWS = Path(sys.executable).with_name("eventflows")


@asynccontextmanager
async def relay(
    registry: Served | RegistryProcess, kafka: Kafka, topics: tuple[str, str], *options: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command as a process; killed at the end if it still runs."""
    full, state = topics
    process = await asyncio.create_subprocess_exec(
        EVENTFLOWS, "log", "relay",
        *([] if "--kafka-file" in options else ["--kafka", kafka.bootstrap_servers]),
        "--topic", full, "--state-topic", state,
        "--address", str(registry.address), "--key-file", registry.folder / "operator.token",
        *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": str(registry.folder)},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def relayed(registry: Served, kafka: Kafka, topics: tuple[str, str]) -> tuple[int, str, str]:
    """Relay up to the head: exit code, stdout and stderr."""
    async with relay(registry, kafka, topics, "--until-head", "-o", "json") as process:
        async with asyncio.timeout(WAIT_S):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


async def committed(kafka: Kafka, topic: str) -> Sequence[ConsumerRecord[bytes, bytes]]:
    """What a reader of committed records finds."""
    partition = TopicPartition(topic, 0)
    found: list[ConsumerRecord[bytes, bytes]] = []
    async with consuming(kafka, isolation_level="read_committed") as consumer:
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            found += (await consumer.getmany(partition, timeout_ms=500)).get(partition, ())
    return found


def header(record: ConsumerRecord[bytes, bytes], name: str) -> str:
    return str(dict(record.headers)[name], "utf-8")


async def wire(registry: Served) -> str:
    """A connection with a grant for an algorithm, and its flow enabled; the connection's id."""
    async with registry.client() as client:
        account = account_request(f"acme{uuid4().hex[:6]}")
        await client.CreateAccount(account)
        algorithm_id, build_id = str(uuid4()), str(uuid4())
        await client.CreateAlgorithm(
            pb.CreateAlgorithmRequest(
                context=context(),
                algorithm_id=algorithm_id,
                owner_id=account.account_id,
                name="digits",
                source_kind=events_pb2.SOURCE_KIND_ENDPOINT,
                source_url="https://models.example/digits",
            )
        )
        now = pb.FinishBuildRequest().started_at
        now.GetCurrentTime()
        await client.FinishBuild(
            pb.FinishBuildRequest(
                context=context(),
                algorithm_id=algorithm_id,
                build_id=build_id,
                commit_sha="0" * 40,
                succeeded=True,
                started_at=now,
                finished_at=now,
            )
        )
        await client.PublishVersion(
            pb.PublishVersionRequest(
                context=context(),
                algorithm_id=algorithm_id,
                callability=events_pb2.CALLABILITY_PRIVATE,
            )
        )
        connection = connection_request()
        await client.CreateConnection(connection)
        await client.SetTopicAccess(
            pb.SetTopicAccessRequest(
                context=context(),
                connection_id=connection.connection_id,
                topic="orders",
                grants=[
                    events_pb2.Grant(
                        algorithm_id=algorithm_id, api_type=events_pb2.API_TYPE_SUBSCRIBER
                    )
                ],
            )
        )
    return str(connection.connection_id)


async def test_every_event_is_there_once_and_in_order_however_often_it_is_killed(
    postgres: Postgres, kafka: Kafka, tmp_path: Path, topics: tuple[str, str]
) -> None:
    async with served(await fresh_database(postgres), tmp_path) as registry:
        async with registry.client() as client:
            for number in range(CHANGES):
                await client.CreateAccount(account_request(f"user{number}"))
            for kill in range(KILLS):
                async with relay(registry, kafka, topics) as process:
                    await written(kafka, topics[0], more_than=kill * 3)
                    for number in range(CHANGES):
                        await client.CreateAccount(account_request(f"more{kill}x{number}"))
                    process.send_signal(signal.SIGKILL)
            code, out, err = await relayed(registry, kafka, topics)
            head = (await client.GetHead(pb.GetHeadRequest())).position
    assert code == 0, err
    assert json.loads(out)["position"] == head
    full = await committed(kafka, topics[0])
    assert [int(header(one, "ce_position")) for one in full] == list(range(1, head + 1))


async def written(kafka: Kafka, topic: str, *, more_than: int) -> None:
    """Wait until the topic has more committed records than that."""
    partition = TopicPartition(topic, 0)
    async with (
        asyncio.timeout(WAIT_S),
        consuming(kafka, isolation_level="read_committed") as consumer,
    ):
        while partition.topic not in await consumer.topics():
            await asyncio.sleep(0.05)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        seen = 0
        while seen <= more_than:
            seen += len((await consumer.getmany(partition, timeout_ms=200)).get(partition, ()))


async def test_a_deleted_connection_leaves_tombstones_for_itself_and_its_flows(
    postgres: Postgres, kafka: Kafka, tmp_path: Path, topics: tuple[str, str]
) -> None:
    async with served(await fresh_database(postgres), tmp_path) as registry:
        connection_id = await wire(registry)
        assert (await relayed(registry, kafka, topics))[0] == 0
        states = {one.key: one for one in await committed(kafka, topics[1])}
        (flow,) = (one for one in states.values() if ".flow." in header(one, "ce_type"))
        assert flow.value is not None
        assert json.loads(flow.value)["channel"]["connection_id"] == connection_id
        async with registry.client() as client:
            await client.DeleteConnection(
                pb.DeleteConnectionRequest(context=context(), connection_id=connection_id)
            )
        assert (await relayed(registry, kafka, topics))[0] == 0
    newest = {one.key: one.value for one in await committed(kafka, topics[1])}
    assert newest[flow.key] is None
    assert newest[connection_id.encode()] is None


async def test_no_record_holds_a_secret(
    postgres: Postgres, kafka: Kafka, tmp_path: Path, topics: tuple[str, str]
) -> None:
    canary = f"canary-{uuid4().hex}"
    async with served(await fresh_database(postgres), tmp_path) as registry:
        async with registry.client() as client:
            credentials = pb.Credential(username="relay", password=canary)
            await client.CreateConnection(connection_request(credentials=credentials))
        code, out, err = await relayed(registry, kafka, topics)
    found = [one for topic in topics for one in await committed(kafka, topic)]
    assert code == 0, err
    assert any(b"secret_id" in one.value for one in found if one.value)
    everything = [out, err, *(repr((one.key, one.value, one.headers)) for one in found)]
    assert not any(canary in text for text in everything)


async def test_topics_of_another_log_are_refused(
    postgres: Postgres, kafka: Kafka, tmp_path: Path, topics: tuple[str, str]
) -> None:
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        async with served(await fresh_database(postgres), folder) as registry:
            async with registry.client() as client:
                await client.CreateAccount(account_request(name))
            code, _, err = await relayed(registry, kafka, topics)
    assert code != 0
    assert "another log" in err
    assert len(await committed(kafka, topics[0])) == 1
