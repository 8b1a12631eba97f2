"""Another master key: re-wrapped, by a process that may die, under registries that go on."""

from __future__ import annotations

import base64
import secrets
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from devstack.process import Process
from kernel.errors import StateForbids
from registry.adapters.envelope import Envelope
from registry.adapters.postgres_vault import PostgresVault
from registry.tasks import ROTATION_PAGE_MAX

from tests.integration.registry.vault_world import (
    created_connection,
    named_secrets,
    owner_of,
    read_password,
    until_the_vault_waits,
    update_of,
)
from tests.support.registry import Database, environment, served

TIMEOUT_S = 60.0
EXIT_CONFIG = 78
FIELD = "credentials"
OLD, NEW, OTHER = b"o" * 32, b"n" * 32, b"x" * 32


def _with_new_key(database: Database, folder: Path) -> dict[str, str]:
    """Variables of a registry that was given a new master key beside its own."""
    new = folder / "new_master_key_file"
    if not new.exists():
        new.write_text(base64.b64encode(secrets.token_bytes(32)).decode())
    return environment(database, folder) | {"EVENTFLOWS_REGISTRY_NEW_MASTER_KEY_FILE": str(new)}


def _spawn(variables: dict[str, str], folder: Path, *task: str) -> Process:
    return Process.spawn(
        [sys.executable, "-m", "registry", *task],
        log_path=folder / f"registry-{uuid4().hex[:6]}.log",
        env=variables,
    )


async def _rotate(variables: dict[str, str], folder: Path) -> str:
    process = _spawn(variables, folder, "rotate-master-key")
    assert await process.wait(timeout_s=TIMEOUT_S) == 0, process.log_tail()
    return process.log_tail()


async def test_a_registry_goes_on_while_its_key_is_changed_and_starts_with_the_new_one(
    database: Database, tmp_path: Path
) -> None:
    variables = _with_new_key(database, tmp_path)
    async with served(database, tmp_path, variables=variables) as registry:
        before = await created_connection(registry)
        (secret,) = await named_secrets(registry, before.connection_id)
        told = await _rotate(variables, tmp_path)
        assert "1 data keys were wrapped anew" in told
        assert await read_password(registry, before.connection_id, secret)
        after = await created_connection(registry)
        assert "0 data keys were wrapped anew" in await _rotate(variables, tmp_path)
        async with registry.client() as client:
            assert (await client.CreateConnection(before)).replayed, "request hashes stay"
            equal = update_of(before, password=before.credentials.password)
            equal.credentials.username = before.credentials.username
            assert not (await client.UpdateConnection(equal)).changed, "fingerprints stay"
    key_file = tmp_path / "master_key_file"
    key_file.write_text((tmp_path / "new_master_key_file").read_text())
    async with served(database, tmp_path) as registry:
        for connection in (before, after):
            (secret,) = await named_secrets(registry, connection.connection_id)
            password = await read_password(registry, connection.connection_id, secret)
            assert password == connection.credentials.password


async def test_a_rotation_that_was_killed_half_way_is_run_again(
    database: Database, tmp_path: Path
) -> None:
    variables = _with_new_key(database, tmp_path)
    old = Envelope.load(tmp_path / "master_key_file")
    secret_ids = {str(uuid4()): str(uuid4()) for _ in range(ROTATION_PAGE_MAX + 20)}
    async with PostgresVault(database.vault_dsn, old) as vault:
        for stream_id, secret_id in secret_ids.items():
            await vault.put(secret_id=secret_id, stream_id=stream_id, field=FIELD, secret=b"word")
    last = max(secret_ids)
    async with owner_of(database) as owner, owner.transaction():
        # The second page waits for this row; the first one is durable by then.
        await owner.execute("SELECT FROM vault.data_keys WHERE stream_id = $1 FOR UPDATE", last)
        process = _spawn(variables, tmp_path, "rotate-master-key")
        await until_the_vault_waits(database)
        process.kill()
    half = Envelope.load(tmp_path / "master_key_file", tmp_path / "new_master_key_file")
    assert await _wrapped_by(database, half.newest_key_id) == ROTATION_PAGE_MAX
    async with PostgresVault(database.vault_dsn, half) as vault:
        await _all_open(vault, secret_ids)
    with pytest.raises(Exception, match=half.master_key_id.hex()):
        async with PostgresVault(
            database.vault_dsn, Envelope.load(tmp_path / "new_master_key_file")
        ):
            raise AssertionError("half of the keys cannot be opened with the new key alone")
    assert "20 data keys were wrapped anew" in await _rotate(variables, tmp_path)
    new = Envelope.load(tmp_path / "new_master_key_file")
    async with PostgresVault(database.vault_dsn, new) as vault:
        await _all_open(vault, secret_ids)


async def _wrapped_by(database: Database, key_id: bytes) -> int:
    async with owner_of(database) as owner:
        return int(
            await owner.fetchval(
                "SELECT count(*) FROM vault.data_keys WHERE master_key_id = $1", key_id
            )
        )


async def _all_open(vault: PostgresVault, secret_ids: dict[str, str]) -> None:
    for stream_id, secret_id in secret_ids.items():
        plain = await vault.read(secret_id=secret_id, stream_id=stream_id, field=FIELD)
        assert plain == b"word"


async def test_a_registry_without_the_new_key_says_so_and_writes_nothing(
    database: Database,
) -> None:
    """It was not restarted with both keys before the rotation."""
    stream_id, secret_id = str(uuid4()), str(uuid4())
    async with PostgresVault(database.vault_dsn, Envelope(OLD)) as forgotten:
        await forgotten.put(secret_id=secret_id, stream_id=stream_id, field=FIELD, secret=b"word")
        async with PostgresVault(database.vault_dsn, Envelope(OLD, NEW)) as rotating:
            assert await rotating.rotate(limit=10) == 1
        with pytest.raises(StateForbids, match=Envelope(NEW).master_key_id.hex()):
            await forgotten.read(secret_id=secret_id, stream_id=stream_id, field=FIELD)
        with pytest.raises(StateForbids, match="start it with the file of that key"):
            await forgotten.put(
                secret_id=str(uuid4()), stream_id=str(uuid4()), field=FIELD, secret=b"x"
            )
    async with owner_of(database) as owner:
        assert await owner.fetchval("SELECT count(*) FROM vault.secrets") == 1
        assert await owner.fetchval("SELECT count(*) FROM vault.data_keys") == 1


async def test_a_vault_of_the_release_before_keeps_its_fingerprints(database: Database) -> None:
    """That release derived them from the master key, and kept no row about it."""
    stream_id = str(uuid4())
    async with PostgresVault(database.vault_dsn, Envelope(OLD)) as vault:
        await vault.put(secret_id=str(uuid4()), stream_id=stream_id, field=FIELD, secret=b"word")
        made_at_random = vault.fingerprint(stream_id=stream_id, field=FIELD, secret=b"word")
    async with owner_of(database) as owner:
        await owner.execute("DELETE FROM vault.master_key")
    expected = Envelope(OLD).digest_keys(
        Envelope(OLD).derived_digest_keys(), master_key_id=Envelope(OLD).master_key_id
    )
    for envelope in (Envelope(OLD), Envelope(OLD, NEW), Envelope(NEW)):
        async with PostgresVault(database.vault_dsn, envelope) as vault:
            found = vault.fingerprint(stream_id=stream_id, field=FIELD, secret=b"word")
            assert found == expected.fingerprint(b"word", stream_id=stream_id, field=FIELD)
            assert found != made_at_random
            await vault.rotate(limit=10)


async def _vault_rows(database: Database) -> list[object]:
    async with owner_of(database) as owner:
        return [
            await owner.fetch(f"SELECT * FROM vault.{table}")
            for table in ("master_key", "data_keys", "secrets")
        ]


async def test_a_wrong_master_key_stops_the_start_with_nothing_written(
    database: Database, tmp_path: Path
) -> None:
    async with served(database, tmp_path) as registry:
        await created_connection(registry)
    before = await _vault_rows(database)
    key_file = tmp_path / "master_key_file"
    right = Envelope.load(key_file).master_key_id.hex()
    key_file.write_text(base64.b64encode(OTHER).decode())
    for task in ([], ["rotate-master-key"]):
        process = _spawn(_with_new_key(database, tmp_path), tmp_path, *task)
        assert await process.wait(timeout_s=TIMEOUT_S) == EXIT_CONFIG
        sentence = f"the vault was sealed under the master key {right}, which this process does not"
        assert sentence in process.log_tail()
        assert "EVENTFLOWS_REGISTRY_MASTER_KEY_FILE" in process.log_tail()
    assert await _vault_rows(database) == before


async def test_rotating_without_a_new_key_is_refused(database: Database, tmp_path: Path) -> None:
    process = _spawn(environment(database, tmp_path), tmp_path, "rotate-master-key")
    assert await process.wait(timeout_s=TIMEOUT_S) == EXIT_CONFIG
    assert "EVENTFLOWS_REGISTRY_NEW_MASTER_KEY_FILE is missing" in process.log_tail()


async def test_a_lost_master_key_costs_the_secrets_and_nothing_else(
    database: Database, tmp_path: Path
) -> None:
    async with served(database, tmp_path) as registry:
        created = await created_connection(registry)
    (tmp_path / "master_key_file").write_text(base64.b64encode(OTHER).decode())
    variables = environment(database, tmp_path)
    unsure = _spawn(variables, tmp_path, "forget-secrets")
    assert await unsure.wait(timeout_s=TIMEOUT_S) != 0
    assert "--every-secret" in unsure.log_tail()
    process = _spawn(variables, tmp_path, "forget-secrets", "--every-secret")
    assert await process.wait(timeout_s=TIMEOUT_S) == 0, process.log_tail()
    async with served(database, tmp_path) as registry:
        async with registry.client() as client:
            entered = await client.UpdateConnection(update_of(created, password="new password"))
        assert entered.changed
        *_, secret = await named_secrets(registry, created.connection_id)
        assert await read_password(registry, created.connection_id, secret) == "new password"
