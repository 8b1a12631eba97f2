"""Credentials: in the vault only, bound to their place, read by the router only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import pytest
from eventflows.registry.v1 import registry_pb2 as pb
from prometheus_client import CollectorRegistry
from registry.adapters.envelope import Envelope
from registry.adapters.memory_vault import MemoryVault
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_vault import PostgresVault
from registry.application.credentials import CREDENTIALS_FIELD
from registry.bootstrap import Registry
from registry.entrypoints.request_hash import request_hash
from registry.settings import RegistrySettings

from tests.support.registry import (
    Database,
    Served,
    connection_request,
    context,
    environment,
    refusal,
    served,
    settings_of,
    verified,
)

TIMEOUT_S = 10.0
PASSWORD = "correct horse battery"


@asynccontextmanager
async def _owner(database: Database) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(database.owner_dsn, timeout=TIMEOUT_S)
    try:
        yield connection
    finally:
        await connection.close()


async def _create(registry: Served, **fields: object) -> tuple[str, str, bytes]:
    """(connection id, secret id, fingerprint) of a new connection with PASSWORD."""
    request = connection_request(**fields)
    async with registry.client() as client:
        result = await client.CreateConnection(request)
        batch = await anext(
            aiter(client.Watch(pb.WatchRequest(after_position=result.position - 1)))
        )
    reference = batch.events[0].event.connection_created.credentials
    return request.connection_id, reference.secret_id, reference.fingerprint


async def test_the_router_reads_what_the_admin_entered(registry: Served) -> None:
    connection_id, secret_id, fingerprint = await _create(registry)
    async with registry.client("router") as router:
        read = pb.ReadCredentialRequest(stream_id=connection_id, secret_id=secret_id)
        credential = await router.ReadCredential(read)
    assert (credential.username, credential.password) == ("admin", PASSWORD)
    assert len(fingerprint) == 8


async def test_a_secret_opens_in_its_own_place_only(registry: Served) -> None:
    first_id, first_secret, first_print = await _create(registry)
    second_id, second_secret, second_print = await _create(registry)
    assert first_print != second_print, "equal passwords of two connections must not show"
    async with registry.client("router") as router:
        for stream_id, secret_id in (
            (first_id, second_secret),
            (second_id, first_secret),
            (first_id, str(uuid4())),
            (str(uuid4()), first_secret),
        ):
            read = pb.ReadCredentialRequest(stream_id=stream_id, secret_id=secret_id)
            assert (await refusal(router.ReadCredential(read)))[0] is grpc.StatusCode.NOT_FOUND


async def test_a_moved_or_altered_ciphertext_does_not_open(
    registry: Served, database: Database
) -> None:
    first_id, first_secret, _ = await _create(registry)
    _, second_secret, _ = await _create(registry)
    async with _owner(database) as owner, registry.client("router") as router:
        await owner.execute(
            "UPDATE vault.secrets SET sealed = "
            "(SELECT sealed FROM vault.secrets WHERE secret_id = $2) WHERE secret_id = $1",
            first_secret, second_secret,
        )  # fmt: skip
        read = pb.ReadCredentialRequest(stream_id=first_id, secret_id=first_secret)
        status, _ = await refusal(router.ReadCredential(read))
        assert status is grpc.StatusCode.FAILED_PRECONDITION


async def test_no_table_holds_a_credential_in_clear(registry: Served, database: Database) -> None:
    await _create(registry)
    async with _owner(database) as owner:
        tables = await owner.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
            "WHERE schemaname IN ('log', 'vault', 'migration')"
        )
        dump = b""
        for table in tables:
            rows = await owner.fetch(f"SELECT * FROM {table['name']}")
            for row in rows:
                values = [v if isinstance(v, bytes) else str(v).encode() for v in row.values()]
                dump += b"\n".join(values)
    assert b"kafka1:9093" in dump, "the dump holds the event"
    for secret in (PASSWORD.encode(), b"correct horse"):
        assert secret not in dump
    assert b"admin" not in dump, "the user name is a credential too"


async def test_a_repeated_creation_leaves_one_secret(registry: Served, database: Database) -> None:
    request = connection_request()
    async with registry.client() as client:
        first = await client.CreateConnection(request)
        assert (await client.CreateConnection(request)).replayed
        request.context.CopyFrom(context())
        same = await client.CreateConnection(request)
        assert (same.changed, same.version) == (False, first.version)
        request.context.CopyFrom(context())
        request.credentials.password = "another password"
        assert (await refusal(client.CreateConnection(request)))[
            0
        ] is grpc.StatusCode.ALREADY_EXISTS
    async with _owner(database) as owner:
        assert await owner.fetchval("SELECT array_agg(used) FROM vault.secrets") == [True]


async def test_deleting_a_connection_destroys_its_key(registry: Served, database: Database) -> None:
    connection_id, _, _ = await _create(registry)
    async with registry.client() as client, _owner(database) as owner:
        assert await owner.fetchval("SELECT count(*) FROM vault.data_keys") == 1
        await client.DeleteConnection(
            pb.DeleteConnectionRequest(context=context(), connection_id=connection_id)
        )
        assert await owner.fetchval("SELECT count(*) FROM vault.data_keys") == 0
        assert await owner.fetchval("SELECT count(*) FROM vault.secrets") == 0
        assert (await verified(client)).intact


async def test_the_sweep_lets_the_log_decide_what_a_crash_left(
    database: Database, tmp_path: Path
) -> None:
    """A process died after storing a secret (nobody's) and another after its event (in use)."""
    async with served(database, tmp_path) as registry:
        connection_id, used_secret, _ = await _create(registry)
        deleted_id, _, _ = await _create(registry)
    async with _owner(database) as owner:
        await owner.execute(
            "UPDATE vault.secrets SET used = false WHERE secret_id = $1", used_secret
        )
    settings = settings_of(environment(database, tmp_path))
    async with _parts(database, settings) as (registry_parts, vault):
        await vault.put(
            secret_id=str(uuid4()), stream_id=str(uuid4()), field=CREDENTIALS_FIELD, secret=b"x"
        )
        await registry_parts.upkeep.sweep()
        async with _owner(database) as owner:
            rows = await owner.fetch("SELECT stream_id, used FROM vault.secrets")
        assert {(str(row["stream_id"]), row["used"]) for row in rows} == {
            (connection_id, True), (deleted_id, True),
        }  # fmt: skip


@asynccontextmanager
async def _parts(
    database: Database, settings: RegistrySettings
) -> AsyncIterator[tuple[Registry, PostgresVault]]:
    """The application on the real database, with a sweep that waits for nothing."""
    envelope = Envelope.load(settings.master_key_file)
    async with PostgresEventStore(database.log_dsn) as store:
        async with PostgresVault(database.vault_dsn, envelope) as vault:
            collector = CollectorRegistry()
            yield Registry.over(store, vault, collector=collector, pending_max_s=0.0), vault


async def test_a_request_hash_does_not_let_a_password_be_guessed(
    registry: Served, database: Database
) -> None:
    request = connection_request()
    async with registry.client() as client:
        await client.CreateConnection(request)
    async with _owner(database) as owner:
        stored = await owner.fetchval("SELECT request_hash FROM log.commands")
    known = MemoryVault(Envelope(bytes(32)))
    guesses = {request_hash(request, keyed=keyed) for keyed in (known.request_digest, _plain)}
    assert stored not in guesses


def _plain(secret: bytes) -> bytes:
    return sha256(secret).digest()


async def test_the_vaults_user_changes_nothing_but_what_its_steps_need(
    registry: Served, database: Database
) -> None:
    await _create(registry)
    connection = await asyncpg.connect(database.vault_dsn, timeout=TIMEOUT_S)
    try:
        for statement in (
            "UPDATE vault.secrets SET sealed = ''",
            "UPDATE vault.secrets SET stream_id = secret_id",
            "UPDATE vault.secrets SET created_at = clock_timestamp()",
            "UPDATE vault.data_keys SET shreddings = 7",
            "UPDATE vault.data_keys SET stream_id = gen_random_uuid()",
            "UPDATE vault.master_key SET id = 2",
            "TRUNCATE vault.secrets",
            "ALTER TABLE vault.master_key DISABLE TRIGGER ALL",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        for statement in (
            "INSERT INTO vault.master_key (id, master_key_id, sealed_digest_keys) "
            "VALUES (2, '12345678', '')",
            "UPDATE vault.master_key SET master_key_id = 'short'",
            "UPDATE vault.secrets SET used = false, superseded_at = clock_timestamp()",
        ):
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute(statement)
    finally:
        await connection.close()
    log_user = await asyncpg.connect(database.log_dsn, timeout=TIMEOUT_S)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await log_user.execute("SELECT * FROM vault.master_key")
    finally:
        await log_user.close()
