"""A log that holds something of every kind, and exports of it by gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
from catalog import codec
from catalog.events import AccountCreated, AccountKind, ApiType
from catalog.identifiers import granted_flow_id
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from registry.ports.event_store import Append
from sealedlog.export_file import ExportWriter, read_file
from sealedlog.export_records import Manifest, parts_of
from sealedlog.secret_sealing import IMPORT_KEY_METADATA, public_key_of, resealed

from tests.support.registry import account_request, append_of, connection_request, context

if TYPE_CHECKING:
    from eventflows.registry.v1.registry_pb2_grpc import RegistryAsyncStub

PASSWORD = "correct horse battery"
TOPIC = "orders"


async def fill(client: RegistryAsyncStub, prefix: str = "") -> dict[str, str]:
    """Something of every kind, one name given back and taken again; their ids. 12 events."""
    account = account_request(f"{prefix}ada")
    await client.CreateAccount(account)
    key = pb.CreateApiKeyRequest(
        context=context(),
        account_id=account.account_id,
        key_id=connection_request().connection_id,
        label="laptop",
        key_type=events_pb2.KEY_TYPE_STANDARD,
        key_sha256=f"{prefix}key".encode().ljust(32, b"k"),
        mask="sim1…xyz",
    )
    await client.CreateApiKey(key)
    connection = connection_request(
        name=f"{prefix}orders",
        credentials=pb.Credential(username="admin", password=PASSWORD),
    )
    await client.CreateConnection(connection)
    gone = connection_request(name=f"{prefix}old")
    await client.CreateConnection(gone)
    await client.DeleteConnection(
        pb.DeleteConnectionRequest(context=context(), connection_id=gone.connection_id)
    )
    again = connection_request(name=f"{prefix}old")
    await client.CreateConnection(again)
    algorithm_id = await _algorithm(client, account.account_id)
    await client.SetTopicAccess(access_request(connection.connection_id, algorithm_id))
    flow_id = granted_flow_id(
        connection_id=connection.connection_id,
        topic=TOPIC,
        algorithm_id=algorithm_id,
        api_type=ApiType.SUBSCRIBER,
    )
    await client.EnableFlow(pb.EnableFlowRequest(context=context(), flow_id=flow_id))
    return {
        "algorithm": algorithm_id,
        "flow": flow_id,
        "account": account.account_id,
        "key": key.key_id,
        "connection": connection.connection_id,
        "gone": gone.connection_id,
        "again": again.connection_id,
    }


def access_request(connection_id: str, *algorithm_ids: str) -> pb.SetTopicAccessRequest:
    """These algorithms, and no others, may read the topic."""
    return pb.SetTopicAccessRequest(
        context=context(),
        connection_id=connection_id,
        topic=TOPIC,
        grants=[
            events_pb2.Grant(algorithm_id=one, api_type=events_pb2.API_TYPE_SUBSCRIBER)
            for one in algorithm_ids
        ],
    )


async def _algorithm(client: RegistryAsyncStub, owner_id: str) -> str:
    """One that is published; its id."""
    algorithm_id = str(uuid4())
    await client.CreateAlgorithm(
        pb.CreateAlgorithmRequest(
            context=context(),
            algorithm_id=algorithm_id,
            owner_id=owner_id,
            name="Echo",
            source_kind=events_pb2.SOURCE_KIND_GIT,
            source_url="file:///srv/echo",
        )
    )
    await client.FinishBuild(
        pb.FinishBuildRequest(
            context=context(),
            algorithm_id=algorithm_id,
            build_id=str(uuid4()),
            commit_sha="c" * 40,
            succeeded=True,
            started_at=Timestamp(seconds=1_700_000_000),
            finished_at=Timestamp(seconds=1_700_000_010),
        )
    )
    await client.PublishVersion(
        pb.PublishVersionRequest(
            context=context(),
            algorithm_id=algorithm_id,
            callability=events_pb2.CALLABILITY_PRIVATE,
        )
    )
    return algorithm_id


def account_append() -> Append:
    """A command whose one event any registry understands."""
    account_id = str(uuid4())
    event = AccountCreated(
        account_id=account_id,
        kind=AccountKind.USER,
        username=f"u{account_id[:8]}",
        email=f"{account_id}@example.test",
    )
    return replace(
        append_of(1, data=codec.encode(event)),
        stream_id=account_id,
        metadata=b"",
        claims=(f"account/name/u{account_id[:8]}", f"account/email/{account_id}@example.test"),
    )


async def export_to(path: Path, client: RegistryAsyncStub, **request: Any) -> Manifest:
    """`ExportLog` into a file."""
    with ExportWriter(path) as writer:
        async for part in client.ExportLog(pb.ExportLogRequest(**request)):
            for record in part.records:
                writer.write(record)
        return writer.complete()


async def import_records(
    client: RegistryAsyncStub, records: Iterable[pb.ExportRecord]
) -> pb.ImportLogResponse:
    """`ImportLog` of these records."""

    async def stream() -> AsyncIterator[pb.ExportPart]:
        for part in parts_of(records):
            yield part

    return await client.ImportLog(stream())


async def import_file(
    client: RegistryAsyncStub, path: Path, private_key: X25519PrivateKey | None = None
) -> pb.ImportLogResponse:
    """`ImportLog` of a file, as the command line does it."""

    async def stream() -> AsyncIterator[pb.ExportPart]:
        records: Iterable[pb.ExportRecord] = read_file(path)
        if private_key is not None:
            given = dict(await call.initial_metadata())[IMPORT_KEY_METADATA]
            records = resealed(records, private_key, public_key_of(given))
        for part in parts_of(records):
            yield part

    call: Any = client.ImportLog(stream())
    answer: pb.ImportLogResponse = await call
    return answer


async def rows(dsn: str, table: str, order: str) -> list[tuple[Any, ...]]:
    """Every row of a table of the log."""
    async with connected(dsn) as connection:
        found = await connection.fetch(f"SELECT * FROM log.{table} ORDER BY {order}")
    return [tuple(row) for row in found]


async def log_of(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """All of a log that an import must bring back."""
    async with connected(dsn) as connection:
        events = await connection.fetch(
            "SELECT e.position, e.stream_id, e.version, t.name, e.time, e.data, e.metadata "
            "FROM log.events e JOIN log.event_types t ON t.id = e.type ORDER BY e.position"
        )
        head = await connection.fetch("SELECT position, hash, time FROM log.head")
    return {
        "events": [tuple(row) for row in events],
        "head": [tuple(row) for row in head],
        "seals": await rows(dsn, "seals", "last_position"),
        "streams": await rows(dsn, "streams", "stream_id"),
        "claims": await rows(dsn, "claims", "name"),
    }


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    """A connection of the test's own."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def tamper(owner_dsn: str, *statements: str) -> None:
    """As a superuser, with the triggers switched off."""
    async with connected(owner_dsn) as connection:
        await connection.execute("SET session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement)
