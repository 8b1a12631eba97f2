"""A registry is killed between each two steps of a command: afterwards the log decides.

A real process, a real kill -9. The test stops the process at a step by holding a lock that the next
step waits for, kills it and its connections, lets go, and does what a registry does an hour later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import grpc.aio
import pytest
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb

from tests.integration.registry.test_process import _serving
from tests.integration.registry.vault_world import (
    PASSWORD,
    SecretRow,
    created_connection,
    named_secrets,
    owner_of,
    read_password,
    secret_rows,
    sweep,
    update_of,
)
from tests.support.registry import Database, connection_request, context, environment, served

NEW_PASSWORD = "the new password"
TIMEOUT_S = 10.0
POLL_S = 0.02
USED = SecretRow(used=True, superseded=False)
PENDING = SecretRow(used=False, superseded=False)
SUPERSEDED = SecretRow(used=True, superseded=True)

_GATE = """
CREATE FUNCTION vault.gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(4711);
    RETURN coalesce(NEW, OLD);
END $$;
"""
_TRIGGERS = {
    "mark used": "BEFORE UPDATE ON vault.secrets FOR EACH ROW WHEN (NEW.superseded_at IS NULL)",
    "supersede": "BEFORE UPDATE ON vault.secrets FOR EACH ROW WHEN (NEW.superseded_at IS NOT NULL)",
    "shred": "BEFORE DELETE ON vault.data_keys FOR EACH ROW",
}
APPEND = "append"
"""The step that the head's row lock stops."""


@asynccontextmanager
async def _stopped_before(database: Database, step: str) -> AsyncIterator[None]:
    """Within, whoever comes to this step waits. Those that wait at the end are ended undone."""
    async with owner_of(database) as holder:
        if step == APPEND:
            await holder.execute("BEGIN; SELECT FROM log.head FOR UPDATE")
        else:
            await holder.execute(
                _GATE + f"CREATE TRIGGER gate {_TRIGGERS[step]} EXECUTE FUNCTION vault.gate()"
            )
            await holder.execute("BEGIN; SELECT pg_advisory_xact_lock(4711)")
        try:
            yield
        finally:
            async with owner_of(database) as other:
                await other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name LIKE 'eventflows-registry%' "
                    "AND datname = current_database()"
                )
            await holder.execute("ROLLBACK")
            await holder.execute("DROP FUNCTION IF EXISTS vault.gate() CASCADE")


async def _until_somebody_waits(database: Database) -> None:
    async with owner_of(database) as owner, asyncio.timeout(TIMEOUT_S):
        while not await owner.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND application_name LIKE 'eventflows-registry%' AND datname = current_database()"
        ):
            await asyncio.sleep(POLL_S)


async def _killed_before(
    database: Database, folder: Path, step: str, request: object, rpc: str
) -> None:
    """Send the request to a registry of its own and kill that before the step is done."""
    async with _serving(environment(database, folder), folder) as (process, registry):
        async with registry.client("gateway") as client, _stopped_before(database, step):
            call = asyncio.ensure_future(getattr(client, rpc)(request))
            await _until_somebody_waits(database)
            process.kill()
            with pytest.raises(grpc.aio.AioRpcError):
                await call


async def _rows_after_the_sweep(database: Database, folder: Path) -> dict[str, SecretRow]:
    await sweep(database, folder)
    once = await secret_rows(database)
    await sweep(database, folder)
    assert await secret_rows(database) == once, "another sweep changes nothing"
    return once


async def test_pending_and_not_appended_a_secret_is_nobodys(
    database: Database, tmp_path: Path
) -> None:
    request = connection_request()
    await _killed_before(database, tmp_path, APPEND, request, "CreateConnection")
    assert list((await secret_rows(database)).values()) == [PENDING]
    assert await _rows_after_the_sweep(database, tmp_path) == {}
    async with served(database, tmp_path) as registry:
        async with registry.client() as client:
            assert not (await client.CreateConnection(request)).replayed, "it had not happened"
        (secret,) = await named_secrets(registry, request.connection_id)
        assert await read_password(registry, request.connection_id, secret) == PASSWORD
    assert await secret_rows(database) == {secret: USED}


async def test_appended_and_not_marked_a_secret_is_marked_later(
    database: Database, tmp_path: Path
) -> None:
    request = connection_request()
    await _killed_before(database, tmp_path, "mark used", request, "CreateConnection")
    assert list((await secret_rows(database)).values()) == [PENDING]
    async with served(database, tmp_path) as registry:
        (secret,) = await named_secrets(registry, request.connection_id)
        assert await read_password(registry, request.connection_id, secret) == PASSWORD
        async with registry.client() as client:
            assert (await client.CreateConnection(request)).replayed
    assert await _rows_after_the_sweep(database, tmp_path) == {secret: USED}


async def test_marked_and_not_answered_a_repeat_gets_the_first_answer(
    database: Database, tmp_path: Path
) -> None:
    async with served(database, tmp_path) as registry:
        created = await created_connection(registry)
        update = update_of(created, password=NEW_PASSWORD)
        async with registry.client() as client:
            call = client.UpdateConnection(update)
            with suppress(asyncio.CancelledError):
                call.cancel()  # the caller is gone; the command is not taken back
                await call
            again = await client.UpdateConnection(update)
        assert again.version == 2
        old, new = await named_secrets(registry, created.connection_id)
    assert await _rows_after_the_sweep(database, tmp_path) == {old: SUPERSEDED, new: USED}


@pytest.mark.parametrize("step", ["mark used", "supersede"])
async def test_replaced_and_not_superseded_the_old_secret_is_superseded_later(
    database: Database, tmp_path: Path, step: str
) -> None:
    async with served(database, tmp_path) as registry:
        created = await created_connection(registry)
    update = update_of(created, password=NEW_PASSWORD)
    await _killed_before(database, tmp_path, step, update, "UpdateConnection")
    async with served(database, tmp_path) as registry:
        old, new = await named_secrets(registry, created.connection_id)
        assert (await secret_rows(database))[old] == USED
        assert await read_password(registry, created.connection_id, new) == NEW_PASSWORD
    assert await _rows_after_the_sweep(database, tmp_path) == {old: SUPERSEDED, new: USED}
    await sweep(database, tmp_path, superseded_kept_s=0.0)
    assert await secret_rows(database) == {new: USED}


async def test_pending_and_replaced_before_it_was_marked_a_secret_is_kept_its_time(
    database: Database, tmp_path: Path
) -> None:
    """The log named it once, so a revert may go back to it."""
    request = connection_request()
    await _killed_before(database, tmp_path, "mark used", request, "CreateConnection")
    update = update_of(request, password=NEW_PASSWORD)
    await _killed_before(database, tmp_path, "mark used", update, "UpdateConnection")
    async with served(database, tmp_path) as registry:
        old, new = await named_secrets(registry, request.connection_id)
    assert await secret_rows(database) == {old: PENDING, new: PENDING}
    assert await _rows_after_the_sweep(database, tmp_path) == {old: SUPERSEDED, new: USED}


async def _shred_half(
    database: Database, folder: Path
) -> tuple[pb.CreateConnectionRequest, pb.ShredSecretsRequest]:
    """A connection whose shredding is in the log while its key is still in the vault."""
    async with served(database, folder) as registry:
        created = await created_connection(registry)
    shred = pb.ShredSecretsRequest(context=context(), stream_id=created.connection_id)
    await _killed_before(database, folder, "shred", shred, "ShredSecrets")
    assert list((await secret_rows(database)).values()) == [USED]
    return created, shred


async def test_shredded_in_the_log_and_not_in_the_vault_the_key_is_deleted_later(
    database: Database, tmp_path: Path
) -> None:
    created, shred = await _shred_half(database, tmp_path)
    async with served(database, tmp_path) as registry:
        secret, _ = await named_secrets(registry, created.connection_id)
        with pytest.raises(grpc.aio.AioRpcError, match="has no credentials"):
            await read_password(registry, created.connection_id, secret)
        async with registry.client("operator") as operator:
            assert (await operator.ShredSecrets(shred)).replayed
    assert await _rows_after_the_sweep(database, tmp_path) == {}
    async with owner_of(database) as owner:
        assert await owner.fetchval("SELECT count(*) FROM vault.data_keys") == 0


async def test_new_credentials_before_the_key_was_deleted_get_a_key_of_their_own(
    database: Database, tmp_path: Path
) -> None:
    created, _ = await _shred_half(database, tmp_path)
    async with owner_of(database) as owner:
        shredded_key = await owner.fetchval("SELECT wrapped_key FROM vault.data_keys")
    async with served(database, tmp_path) as registry:
        async with registry.client() as client:
            await client.UpdateConnection(update_of(created, password=NEW_PASSWORD))
        *_, new = await named_secrets(registry, created.connection_id)
        assert await secret_rows(database) == {new: USED}
        async with owner_of(database) as owner:
            (row,) = await owner.fetch("SELECT wrapped_key FROM vault.data_keys")
        assert row["wrapped_key"] != shredded_key
        assert await _rows_after_the_sweep(database, tmp_path) == {new: USED}
        assert await read_password(registry, created.connection_id, new) == NEW_PASSWORD


async def test_deleted_in_the_log_and_not_in_the_vault_the_key_is_deleted_later(
    database: Database, tmp_path: Path
) -> None:
    async with served(database, tmp_path) as registry:
        created = await created_connection(registry)
    delete = pb.DeleteConnectionRequest(context=context(), connection_id=created.connection_id)
    await _killed_before(database, tmp_path, "shred", delete, "DeleteConnection")
    assert list((await secret_rows(database)).values()) == [USED]
    assert await _rows_after_the_sweep(database, tmp_path) == {}


async def test_dropped_in_the_log_and_not_superseded_a_secret_is_superseded_later(
    database: Database, tmp_path: Path
) -> None:
    async with served(database, tmp_path) as registry:
        created = await created_connection(registry)
    plain = update_of(
        created, security_protocol=events_pb2.SECURITY_PROTOCOL_PLAINTEXT, sasl_mechanism=""
    )
    await _killed_before(database, tmp_path, "supersede", plain, "UpdateConnection")
    (row,) = (await _rows_after_the_sweep(database, tmp_path)).values()
    assert row == SUPERSEDED
