"""The vault on PostgreSQL: a schema and a role of its own; ciphertext is all that goes there."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import asyncpg
from kernel.errors import NotFound, Unavailable

from registry.adapters.envelope import Envelope
from registry.adapters.postgres_errors import translated
from registry.adapters.statements import statements
from registry.ports.vault import VaultEntry

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 10.0
CONNECTIONS_MAX = 4
NIL = UUID(int=0)

_SERVER_SETTINGS = {
    "application_name": "eventflows-registry-vault",
    "lock_timeout": "5s",
    "statement_timeout": "9s",
    "idle_in_transaction_session_timeout": "10s",
    "synchronous_commit": "on",
}


class PostgresVault:
    """`Vault` on PostgreSQL. Enter it to connect, leave it to close."""

    def __init__(self, dsn: str, envelope: Envelope) -> None:
        self._dsn = dsn
        self._envelope = envelope
        self._sql = statements("vault.sql")
        self._pool: asyncpg.Pool[Any] | None = None

    async def __aenter__(self) -> Self:
        with translated("connecting to the vault"):
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=0,
                max_size=CONNECTIONS_MAX,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=CALL_TIMEOUT_S,
                server_settings=_SERVER_SETTINGS,
            )
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
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    def fingerprint(self, *, stream_id: str, field: str, secret: bytes) -> bytes:
        return self._envelope.fingerprint(secret, stream_id=stream_id, field=field)

    async def put(self, *, secret_id: str, stream_id: str, field: str, secret: bytes) -> None:
        with translated("storing a secret"):
            async with self._open_pool().acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                async with connection.transaction():
                    await connection.execute(
                        self._sql["add_data_key"],
                        UUID(stream_id),
                        self._envelope.master_key_id,
                        self._envelope.new_data_key(stream_id),
                    )
                    key = await connection.fetchrow(self._sql["data_key"], UUID(stream_id))
                    if key is None:
                        raise Unavailable("storing a secret: its key was destroyed, try again")
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

    async def mark_used(self, secret_id: str) -> None:
        await self._fetch("marking a secret", "mark_used", UUID(secret_id))

    async def discard(self, secret_id: str) -> None:
        await self._fetch("discarding a secret", "discard", UUID(secret_id))

    async def read(self, *, secret_id: str, stream_id: str, field: str) -> bytes:
        rows = await self._fetch(
            "reading a secret", "read", UUID(secret_id), UUID(stream_id), field
        )
        if not rows:
            raise NotFound("the vault does not hold this secret: enter the credentials again")
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
                secret_id=str(row["secret_id"]), stream_id=str(row["stream_id"]), used=row["used"]
            )
            for row in rows
        ]

    async def shred(self, stream_id: str) -> None:
        await self._fetch("shredding secrets", "shred", UUID(stream_id))

    async def _fetch(self, subject: str, name: str, *arguments: object) -> Sequence[Any]:
        with translated(subject):
            async with self._open_pool().acquire(timeout=CONNECT_TIMEOUT_S) as connection:
                return await connection.fetch(self._sql[name], *arguments)

    def _open_pool(self) -> asyncpg.Pool[Any]:
        if self._pool is None:
            raise Unavailable("the vault is closed in this process")
        return self._pool
