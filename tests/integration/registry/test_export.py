"""The log out into a file and in again: the same chain, the same catalog, or nothing."""

from __future__ import annotations

import asyncio
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from catalog import snapshot
from devstack import Postgres
from eventflows.registry.v1 import registry_pb2 as pb
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.application import importing
from sealedlog.export_file import read_file, verify_file
from sealedlog.secret_sealing import new_private_key, public_bytes, without_secrets
from sealedlog.verification import ChainPoint

from tests.support import registry as support
from tests.support.exports import (
    PASSWORD,
    account_append,
    connected,
    export_to,
    fill,
    import_file,
    import_records,
    log_of,
)
from tests.support.registry import (
    Database,
    Served,
    account_request,
    connection_request,
    context,
    fresh_database,
    refusal,
    served,
    verified,
)
from tests.support.sealed_logs import batches_of, records_of

if TYPE_CHECKING:
    from eventflows.registry.v1.registry_pb2_grpc import RegistryAsyncStub

FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
async def other(postgres: Postgres) -> Database:
    """Another, empty database."""
    return await fresh_database(postgres)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """For the other registry."""
    (tmp_path / "other").mkdir()
    return tmp_path / "other"


async def catalog_of(client: RegistryAsyncStub) -> bytes:
    """The whole catalog as bytes."""
    request = pb.ReadCatalogRequest(fold=snapshot.FOLD)
    return b"".join([part.data async for part in client.ReadCatalog(request)])


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    """Status and sentence of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_an_export_into_an_empty_log_gives_the_same_chain_and_catalog(
    database: Database, other: Database, tmp_path: Path, folder: Path
) -> None:
    path = tmp_path / "log.export"
    async with served(database, tmp_path) as registry, registry.client("operator") as client:
        async with registry.client() as gateway:
            await fill(gateway)
        manifest = await export_to(path, client)
        head = await client.GetHead(pb.GetHeadRequest())
        assert (manifest.last.position, manifest.last.hash) == (head.position, head.hash)
        catalog = await catalog_of(client)
    assert verify_file(path, expected=manifest.last) == manifest
    async with served(other, folder) as registry, registry.client("operator") as client:
        answer = await import_file(client, path)
        assert (answer.events, answer.batches) == (manifest.events, manifest.batches)
        assert answer.head == head
        assert answer.streams_without_credentials == 2
        assert await catalog_of(client) == catalog
        assert (await verified(client)).intact
        assert await log_of(other.owner_dsn) == await log_of(database.owner_dsn)


async def test_an_imported_log_is_lived_in_as_before(
    database: Database, other: Database, tmp_path: Path, folder: Path
) -> None:
    path = tmp_path / "log.export"
    async with served(database, tmp_path) as registry, registry.client("operator") as client:
        async with registry.client() as gateway:
            ids = await fill(gateway)
        await export_to(path, client)
    async with served(other, folder) as registry, registry.client("operator") as client:
        await import_file(client, path)
        async with registry.client() as gateway:
            taken = account_request("ADA", email="other@example.test")
            status, _ = await refusal(gateway.CreateAccount(taken))
            assert status is grpc.StatusCode.ALREADY_EXISTS, "names are taken as before"
            status, _ = await refusal(gateway.CreateConnection(connection_request(name="old")))
            assert status is grpc.StatusCode.ALREADY_EXISTS
            await gateway.DeleteConnection(
                pb.DeleteConnectionRequest(context=context(), connection_id=ids["again"])
            )
            await gateway.CreateConnection(connection_request(name="old"))
            revoked = await gateway.RevokeApiKey(
                pb.RevokeApiKeyRequest(
                    context=context(), account_id=ids["account"], key_id=ids["key"]
                )
            )
            assert revoked.changed
            assert revoked.version == 3
        assert (await verified(client)).intact


async def test_an_export_goes_on_where_the_last_one_ended(
    database: Database, other: Database, tmp_path: Path, folder: Path
) -> None:
    first, second = tmp_path / "first.export", tmp_path / "second.export"
    async with served(database, tmp_path) as registry, registry.client("operator") as client:
        async with registry.client() as gateway:
            await fill(gateway)
            manifest = await export_to(first, client)
            await fill(gateway, "b_")
        await export_to(second, client, after_position=manifest.last.position)
    async with served(other, folder) as registry, registry.client("operator") as client:
        status, words = await refused(import_file(client, second))
        assert status is FAILED_PRECONDITION
        assert f"begins after {manifest.last.position}: import the exports before it" in words
        await import_file(client, first)
        await import_file(client, second)
        again = await import_file(client, second)
        assert (again.events, again.batches) == (0, 0), "an import that was done does nothing"
        status, words = await refused(import_file(client, first))
        assert status is FAILED_PRECONDITION
        assert "there is nothing to import" in words
    assert await log_of(other.owner_dsn) == await log_of(database.owner_dsn)


async def test_an_import_that_was_interrupted_goes_on_at_the_head(
    database: Database,
    other: Database,
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "log.export"
    async with served(database, tmp_path) as registry, registry.client("operator") as client:
        async with registry.client() as gateway:
            await fill(gateway)
        manifest = await export_to(path, client)
    monkeypatch.setattr(importing, "IMPORT_EVENTS_MAX", 2)
    async with served(other, folder) as registry, registry.client("operator") as client:
        async with connected(other.owner_dsn) as blocker, connected(other.owner_dsn) as watching:
            # The second step waits for the head; the call is given up in the middle.
            step = asyncio.Event()
            original = importing._Folding.step

            async def stopped(self: Any, after: ChainPoint, batches: Any) -> Any:
                if after.position > 0 and not step.is_set():
                    await blocker.execute("BEGIN; SELECT FROM log.head FOR UPDATE")
                    step.set()
                return await original(self, after, batches)

            monkeypatch.setattr(importing._Folding, "step", stopped)
            call = asyncio.ensure_future(import_file(client, path))
            async with asyncio.timeout(30):
                await step.wait()
                await _wait_for_steps(watching, 1)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                await _wait_for_steps(watching, 0)
            await blocker.execute("ROLLBACK")
        monkeypatch.setattr(importing._Folding, "step", original)
        before = (await client.GetHead(pb.GetHeadRequest())).position
        assert 0 < before < manifest.last.position
        answer = await import_file(client, path)
        assert answer.events == manifest.events - before
    assert await log_of(other.owner_dsn) == await log_of(database.owner_dsn)


async def test_an_import_beside_another_writer_fails_cleanly(
    database: Database,
    other: Database,
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "log.export"
    async with served(database, tmp_path) as registry, registry.client("operator") as client:
        async with registry.client() as gateway:
            await fill(gateway)
        await export_to(path, client)
    monkeypatch.setattr(importing, "IMPORT_EVENTS_MAX", 2)
    async with served(other, folder) as registry, registry.client("operator") as client:
        original = importing._Folding.step

        async def beside(self: Any, after: ChainPoint, batches: Any) -> Any:
            if after.position > 0:
                async with registry.client() as gateway:
                    await gateway.CreateAccount(account_request("somebody"))
            return await original(self, after, batches)

        monkeypatch.setattr(importing._Folding, "step", beside)
        status, words = await refused(import_file(client, path))
        assert status is FAILED_PRECONDITION
        assert "somebody else appends" in words
        assert (await verified(client)).intact
        status, words = await refused(import_file(client, path))
        assert status is FAILED_PRECONDITION
        assert "it is another log" in words


async def test_another_log_is_not_gone_on_with(
    database: Database, other: Database, tmp_path: Path, folder: Path
) -> None:
    path = tmp_path / "log.export"
    async with served(database, tmp_path) as registry, registry.client("operator") as client:
        async with registry.client() as gateway:
            await fill(gateway)
        await export_to(path, client)
    async with served(other, folder) as registry, registry.client("operator") as client:
        async with registry.client() as gateway:
            await gateway.CreateAccount(account_request("grace"))
        before = await log_of(other.owner_dsn)
        status, words = await refused(import_file(client, path))
        assert status is FAILED_PRECONDITION
        assert "it is another log" in words
        assert await log_of(other.owner_dsn) == before


async def test_a_damaged_export_writes_nothing(
    database: Database, other: Database, tmp_path: Path, folder: Path
) -> None:
    path = tmp_path / "log.export"
    async with served(database, tmp_path) as registry, registry.client("operator") as client:
        async with registry.client() as gateway:
            await fill(gateway)
        await export_to(path, client)
    records = list(read_file(path))
    altered = pb.ExportRecord.FromString(records[-2].SerializeToString())
    altered.batch.events[0].data += b"x"
    damages = {
        "cut short": records[:-1],
        "does not follow": [records[0], *records[2:]],
        "not those that were sealed": [*records[:-2], altered, records[-1]],
        "has no header": [],
        "one header": records[1:],
    }
    async with served(other, folder) as registry, registry.client("operator") as client:
        empty = await log_of(other.owner_dsn)
        for words, damaged in damages.items():
            status, told = await refused(import_records(client, damaged))
            assert (status, words in told) == (INVALID_ARGUMENT, True), told
        assert await log_of(other.owner_dsn) == empty


async def test_events_that_this_build_does_not_know_are_not_imported(
    other: Database, folder: Path
) -> None:
    async with served(other, folder) as registry, registry.client("operator") as client:
        empty = await log_of(other.owner_dsn)
        status, words = await refused(import_records(client, records_of(batches_of(2))))
        assert status is INVALID_ARGUMENT
        assert "newer build" in words
        assert await log_of(other.owner_dsn) == empty


async def test_a_disk_that_is_full_is_named_and_nothing_is_written(
    other: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(other, folder) as registry, registry.client("operator") as client:
        empty = await log_of(other.owner_dsn)
        monkeypatch.setattr(
            tempfile, "TemporaryFile", partial(Path("/dev/full").open, "r+b", buffering=0)
        )
        status, words = await refused(import_records(client, records_of(batches_of(2))))
        assert status is FAILED_PRECONDITION
        assert "No space left on device" in words
        assert await log_of(other.owner_dsn) == empty


async def test_a_registry_without_an_operators_address_refuses_to_import(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = support.environment
    monkeypatch.setattr(
        support,
        "environment",
        lambda *given: {
            name: value for name, value in whole(*given).items() if "OPS_DSN" not in name
        },
    )
    async with served(database, tmp_path) as registry, registry.client("operator") as client:
        status, words = await refused(import_records(client, []))
        assert status is FAILED_PRECONDITION
        assert "OPS_DSN_FILE" in words


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"after_position": -1}, "0 or more"),
        ({"after_position": 2}, "end of a batch"),
        ({"to_position": 2}, "end of a batch"),
        ({"to_position": 9999}, "between 1 and the head"),
        ({"to_position": -1}, "between 1 and the head"),
        ({"after_position": 9999}, "end of a batch"),
        ({"recipient": "ops"}, "needs a recipient_public_key"),
        ({"recipient_public_key": bytes(32)}, "name whose key"),
        ({"recipient": "ops", "recipient_public_key": b"x"}, "32 bytes"),
        ({"recipient": "ops", "recipient_public_key": b"k" * 32, "to_position": 1}, "to the head"),
    ],
)
async def test_an_export_of_nowhere_is_refused(
    database: Database, registry: Served, tmp_path: Path, request_: dict[str, Any], words: str
) -> None:
    async with PostgresEventStore(database.log_dsn) as store:
        await store.append([account_append(), account_append(), account_append()])
    async with registry.client("operator") as client:
        status, told = await refused(export_to(tmp_path / "log.export", client, **request_))
        assert status is INVALID_ARGUMENT
        assert words in told
    assert not (tmp_path / "log.export").exists()


async def test_secrets_travel_sealed_and_are_kept_under_the_new_master_key(
    database: Database,
    other: Database,
    tmp_path: Path,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, key = tmp_path / "log.export", new_private_key()
    async with served(database, tmp_path) as registry, registry.client("operator") as client:
        async with registry.client() as gateway:
            ids = await fill(gateway)
        manifest = await export_to(
            path, client, recipient="ops", recipient_public_key=public_bytes(key)
        )
        assert (manifest.recipient, manifest.secrets) == ("ops", 2)
        secret_id = await _secret_id(path, ids["connection"])
    canary = PASSWORD.encode()
    assert canary not in path.read_bytes()
    async with served(other, folder) as registry, registry.client("operator") as client:
        status, words = await refused(import_records(client, read_file(path)))
        assert status is INVALID_ARGUMENT
        assert "sealed for ops" in words
        answer = await import_file(client, path, key)
        assert answer.streams_without_credentials == 0
        async with registry.client("router") as router:
            credential = await router.ReadCredential(
                pb.ReadCredentialRequest(stream_id=ids["connection"], secret_id=secret_id)
            )
        assert credential.password == PASSWORD
        again = await import_file(client, path, key)
        assert (again.events, again.streams_without_credentials) == (0, 0)
    assert PASSWORD not in caplog.text
    async with connected(other.owner_dsn) as connection:
        used = await connection.fetchval("SELECT bool_and(used) FROM vault.secrets")
        assert used
    logged = [record for record in caplog.records if record.message == "secrets were exported"]
    assert getattr(logged[0], "recipient", "") == "ops"


async def test_an_import_without_the_secrets_says_what_is_missing(
    database: Database, other: Database, tmp_path: Path, folder: Path
) -> None:
    path, key = tmp_path / "log.export", new_private_key()
    async with served(database, tmp_path) as registry, registry.client("operator") as client:
        async with registry.client() as gateway:
            await fill(gateway)
        await export_to(path, client, recipient="ops", recipient_public_key=public_bytes(key))
    async with served(other, folder) as registry, registry.client("operator") as client:
        answer = await import_records(client, without_secrets(read_file(path)))
        assert answer.streams_without_credentials == 2
        assert answer.events > 0


async def test_only_operators_export_and_import(registry: Served) -> None:
    for role in ("gateway", "router", "runner"):
        async with registry.client(role) as client:
            call = client.ExportLog(pb.ExportLogRequest())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            status, _ = await refused(import_records(client, []))
            assert status is grpc.StatusCode.PERMISSION_DENIED


async def _wait_for_steps(connection: Any, count: int) -> None:
    """Return when so many steps of imports into this database wait for the head."""
    while count != await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND datname = "
        "current_database() AND application_name = 'eventflows-registry-ops'"
    ):
        continue


async def _secret_id(path: Path, stream_id: str) -> str:
    secrets = [record.secret for record in read_file(path) if record.HasField("secret")]
    (found,) = [secret.secret_id for secret in secrets if secret.stream_id == stream_id]
    return found
