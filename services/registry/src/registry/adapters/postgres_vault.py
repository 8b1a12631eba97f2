"""The vault on PostgreSQL: a schema and a role of its own; ciphertext is all that goes there."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from catalog.errors import SECRET_GONE
from kernel.errors import NotFound, Unavailable, VersionConflict
from servicekit.postgres import PostgresPool
from servicekit.settings import SettingsError

from registry.adapters.envelope import DigestKeys, Envelope
from registry.adapters.postgres_errors import translated
from registry.adapters.statements import statements
from registry.ports.vault import VaultEntry

DATA_KEY_ATTEMPTS_MAX = 5
NIL = UUID(int=0)

Connection: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"

_SERVER_SETTINGS = {"lock_timeout": "5s", "statement_timeout": "9s", "synchronous_commit": "on"}


class PostgresVault:
    """`Vault` on PostgreSQL. Enter it to connect, leave it to close."""

    def __init__(self, dsn: str, envelope: Envelope) -> None:
        self._envelope = envelope
        self._sql = statements("vault.sql")
        self._pool = PostgresPool(
            dsn,
            application_name="eventflows-registry-vault",
            translated=translated,
            server_settings=_SERVER_SETTINGS,
        )
        self._digest_keys: DigestKeys | None = None

    async def __aenter__(self) -> Self:
        """Raises SettingsError, with nothing written, when the vault was sealed under a master key
        that this process does not have; Unavailable."""
        await self._pool.__aenter__()
        try:
            self._digest_keys = await self._unlock()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. May come early or twice."""
        await self._pool.close()

    def fingerprint(self, *, stream_id: str, field: str, secret: bytes) -> bytes:
        return self._digests().fingerprint(secret, stream_id=stream_id, field=field)

    def request_digest(self, secret: bytes) -> bytes:
        return self._digests().request_digest(secret)

    async def put(
        self, *, secret_id: str, stream_id: str, field: str, secret: bytes, shreddings: int = 0
    ) -> None:
        async with self._pool.connection("storing a secret") as connection:
            async with connection.transaction():
                key = await self._data_key(connection, stream_id, shreddings)
                sealed = self._envelope.seal(
                    secret,
                    wrapped_key=key["wrapped_key"],
                    master_key_id=key["master_key_id"],
                    secret_id=secret_id,
                    stream_id=stream_id,
                    field=field,
                )
                await connection.execute(
                    self._sql["add_secret"], UUID(secret_id), UUID(stream_id), field, sealed
                )

    async def _data_key(self, connection: Connection, stream_id: str, shreddings: int) -> Any:
        """The stream's key, locked; made when there is none from after the last shredding."""
        in_use = await connection.fetchval(self._sql["master_key_in_use"])
        stream = UUID(stream_id)
        for _ in range(DATA_KEY_ATTEMPTS_MAX):
            await connection.execute(self._sql["shred_before"], stream, shreddings)
            wrapped_key = self._envelope.new_data_key(stream_id, master_key_id=in_use)
            await connection.execute(
                self._sql["add_data_key"], stream, shreddings, in_use, wrapped_key
            )
            key = await connection.fetchrow(self._sql["data_key"], stream)
            # None, or an older one: somebody destroyed or made a key between two of our statements.
            if key is not None and key["shreddings"] >= shreddings:
                break
        else:
            raise Unavailable("storing a secret: its key is destroyed all the time, try again")
        if key["shreddings"] > shreddings:
            raise VersionConflict("its secrets were shredded meanwhile: read it, then decide again")
        return key

    async def mark_used(self, secret_id: str) -> None:
        await self._fetch("marking a secret", "mark_used", UUID(secret_id))

    async def supersede(self, secret_id: str) -> None:
        await self._fetch("superseding a secret", "supersede", UUID(secret_id))

    async def holds(self, *, secret_id: str, stream_id: str) -> bool:
        rows = await self._fetch("looking for a secret", "holds", UUID(secret_id), UUID(stream_id))
        return bool(rows)

    async def discard(self, secret_id: str) -> None:
        await self._fetch("discarding a secret", "discard", UUID(secret_id))

    async def destroy_superseded(self, secret_id: str, *, than_s: float) -> bool:
        rows = await self._fetch(
            "destroying a secret", "destroy_superseded", UUID(secret_id), than_s
        )
        return bool(rows)

    async def read(self, *, secret_id: str, stream_id: str, field: str) -> bytes:
        rows = await self._fetch(
            "reading a secret", "read", UUID(secret_id), UUID(stream_id), field
        )
        if not rows:
            raise NotFound(
                "the vault does not hold this secret: enter the credentials again", code=SECRET_GONE
            )
        (row,) = rows
        return self._envelope.open(
            row["sealed"],
            wrapped_key=row["wrapped_key"],
            master_key_id=row["master_key_id"],
            secret_id=secret_id,
            stream_id=stream_id,
            field=field,
        )

    async def older(self, *, than_s: float, after: str, limit: int) -> Sequence[VaultEntry]:
        rows = await self._fetch(
            "listing the vault", "older", than_s, UUID(after) if after else NIL, limit
        )
        return [
            VaultEntry(
                secret_id=str(row["secret_id"]),
                stream_id=str(row["stream_id"]),
                used=row["used"],
                superseded=row["superseded"],
                shreddings=row["shreddings"],
            )
            for row in rows
        ]

    async def shred(self, stream_id: str, *, shreddings: int | None = None) -> None:
        if shreddings is None:
            await self._fetch("shredding secrets", "shred", UUID(stream_id))
        else:
            await self._fetch("shredding secrets", "shred_before", UUID(stream_id), shreddings)

    async def rotate(self, *, limit: int) -> int:
        newest = self._envelope.newest_key_id
        async with self._pool.connection("rotating the master key") as connection:
            async with connection.transaction():
                await self._use(connection, newest)
                rows = await connection.fetch(self._sql["wrapped_otherwise"], newest, limit)
                anew = [(row["stream_id"], newest, self._wrapped_anew(row)) for row in rows]
                await connection.executemany(self._sql["wrap_anew"], anew)
                return len(rows)

    async def forget_everything(self) -> None:
        """Destroy every key and secret, whoever sealed them. Not of an open vault: for one that
        cannot be opened because its master key is lost. Raises Unavailable."""
        async with self._pool as pool, pool.connection("emptying the vault") as connection:
            async with connection.transaction():
                await connection.execute(self._sql["forget_data_keys"])
                await connection.execute(self._sql["forget_master_key"])

    async def _use(self, connection: Connection, newest: bytes) -> None:
        """From the end of this transaction on every data key is made under the newest key."""
        (row,) = await connection.fetch(self._sql["lock_master_key"])
        if row["master_key_id"] != newest:
            sealed = self._envelope.seal_digest_keys_anew(
                row["sealed_digest_keys"], master_key_id=row["master_key_id"]
            )
            await connection.execute(self._sql["change_master_key"], newest, sealed)

    def _wrapped_anew(self, row: Any) -> bytes:
        return self._envelope.wrap_anew(
            row["wrapped_key"],
            master_key_id=row["master_key_id"],
            stream_id=str(row["stream_id"]),
        )

    async def _unlock(self) -> DigestKeys:
        """Check that every key of the vault opens with ours; a new vault takes our first one."""
        async with self._pool.connection("unlocking the vault") as connection:
            rows = await connection.fetch(self._sql["wrapping_keys"])
            self._check(*(row["master_key_id"] for row in rows))
            if await connection.fetchrow(self._sql["master_key"]) is None:
                envelope = self._envelope
                new = envelope.derived_digest_keys() if rows else envelope.new_digest_keys()
                await connection.execute(self._sql["add_master_key"], envelope.master_key_id, new)
            (row,) = await connection.fetch(self._sql["master_key"])
        self._check(row["master_key_id"])
        return self._envelope.digest_keys(
            row["sealed_digest_keys"], master_key_id=row["master_key_id"]
        )

    def _check(self, *needed: bytes) -> None:
        if missing := set(needed) - self._envelope.master_key_ids:
            raise SettingsError(
                [
                    f"the vault was sealed under the master key {min(missing).hex()}, which "
                    "this process does not have: name the file of that key in "
                    "EVENTFLOWS_REGISTRY_MASTER_KEY_FILE (while keys are rotated, the other one in "
                    "EVENTFLOWS_REGISTRY_NEW_MASTER_KEY_FILE)"
                ]
            )

    def _digests(self) -> DigestKeys:
        if self._digest_keys is None:
            raise Unavailable("the vault is not open in this process")
        return self._digest_keys

    async def _fetch(self, subject: str, name: str, *arguments: object) -> Sequence[Any]:
        return await self._pool.fetch(subject, self._sql[name], *arguments)
