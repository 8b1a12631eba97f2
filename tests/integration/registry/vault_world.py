"""What the tests of the vault share: connections with secrets, and looks into the tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from prometheus_client import CollectorRegistry
from registry.adapters.envelope import Envelope
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_vault import PostgresVault
from registry.bootstrap import Registry
from registry.ports.vault import SUPERSEDED_KEPT_S, Vault

from tests.support.registry import Database, Served, connection_request, context

TIMEOUT_S = 10.0
POLL_S = 0.02
PASSWORD = "correct horse battery"


@asynccontextmanager
async def owner_of(database: Database) -> AsyncIterator[asyncpg.Connection[Any]]:
    """An administrator's connection."""
    connection = await asyncpg.connect(database.owner_dsn, timeout=TIMEOUT_S)
    try:
        yield connection
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRow:
    """A row of the vault as the tests compare it."""

    used: bool
    superseded: bool


async def secret_rows(database: Database) -> dict[str, SecretRow]:
    """Every secret of the vault by id."""
    async with owner_of(database) as owner:
        rows = await owner.fetch("SELECT secret_id, used, superseded_at FROM vault.secrets")
    return {
        str(row["secret_id"]): SecretRow(
            used=row["used"], superseded=row["superseded_at"] is not None
        )
        for row in rows
    }


async def named_secrets(registry: Served, stream_id: str) -> list[str]:
    """The secret ids that the events of a stream name, in order; empty for an event without."""
    async with registry.client() as client:
        head = await client.GetHead(pb.GetHeadRequest())
        named: list[str] = []
        async for batch in client.Watch(pb.WatchRequest()):
            for recorded in batch.events:
                if recorded.stream_id == stream_id:
                    named.append(_secret_id(recorded.event))
            if batch.to_position >= head.position:
                break
    return named


def _secret_id(event: events_pb2.Event) -> str:
    kind = event.WhichOneof("kind")
    assert kind is not None
    content = getattr(event, kind)
    holder = getattr(content, "channel", content)
    reference = getattr(holder, "credentials", None)
    return "" if reference is None else str(reference.secret_id)


async def created_connection(registry: Served, **fields: object) -> pb.CreateConnectionRequest:
    """A new connection with PASSWORD: the request that made it."""
    request = connection_request(**fields)
    async with registry.client() as client:
        await client.CreateConnection(request)
    return request


def update_of(
    request: pb.CreateConnectionRequest, *, password: str = "", **fields: object
) -> pb.UpdateConnectionRequest:
    """The same connection with other fields; without a password its credentials are left out."""
    given = {
        "context": context(),
        "connection_id": request.connection_id,
        "name": request.name,
        "bootstrap_servers": list(request.bootstrap_servers),
        "security_protocol": request.security_protocol,
        "sasl_mechanism": request.sasl_mechanism,
        **fields,
    }
    if password:
        given["credentials"] = pb.Credential(username="admin", password=password)
    return pb.UpdateConnectionRequest(**given)  # type: ignore[arg-type]


async def read_password(registry: Served, stream_id: str, secret_id: str) -> str:
    """What the router would read."""
    async with registry.client("router") as router:
        credential = await router.ReadCredential(
            pb.ReadCredentialRequest(stream_id=stream_id, secret_id=secret_id)
        )
    return credential.password


@asynccontextmanager
async def registry_over(
    database: Database, vault: Vault, *, superseded_kept_s: float = SUPERSEDED_KEPT_S
) -> AsyncIterator[Registry]:
    """The application on the real log and this vault, with a sweep that waits for nothing."""
    async with PostgresEventStore(database.log_dsn) as store:
        yield Registry.over(
            store,
            vault,
            collector=CollectorRegistry(),
            pending_max_s=0.0,
            superseded_kept_s=superseded_kept_s,
        )


async def sweep(
    database: Database, folder: Path, *, superseded_kept_s: float = SUPERSEDED_KEPT_S
) -> None:
    """What a registry does to the vault after its start, an hour later."""
    envelope = Envelope.load(folder / "master_key_file")
    async with PostgresVault(database.vault_dsn, envelope) as vault:
        async with registry_over(database, vault, superseded_kept_s=superseded_kept_s) as registry:
            await registry.projection.reach_head()
            await registry.upkeep.sweep()


async def until_the_vault_waits(database: Database) -> None:
    """Return when a registry's connection to the vault waits for a lock that the test holds."""
    async with owner_of(database) as owner, asyncio.timeout(TIMEOUT_S):
        while not await owner.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND application_name = 'eventflows-registry-vault' AND datname = current_database()"
        ):
            await asyncio.sleep(POLL_S)
