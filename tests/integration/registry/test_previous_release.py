"""A registry of the release before works on today's schema, beside one of today.

Its statements are kept in `tests/golden/previous_release` as that release sent them; here they are
sent as it sent them, with what it did before and after taken from its adapters.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from registry.adapters import migrations
from registry.adapters.envelope import Envelope
from registry.adapters.migrations import check_schema
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_vault import PostgresVault
from registry.adapters.statements import parsed
from registry.ports.event_store import Append, Status, StoredEvent
from sealedlog import sealing

from tests.support.registry import Database, append_of

FOLDER = Path(__file__).parents[2] / "golden" / "previous_release"
TIMEOUT_S = 10.0
MIGRATIONS_THEN = 6
SESSION_THEN = {
    "default_transaction_isolation": "read committed",
    "lock_timeout": "10s",
    "statement_timeout": "14s",
    "idle_in_transaction_session_timeout": "10s",
    "synchronous_commit": "on",
    "jit": "off",
}


class Then:
    """The release before, as the database sees it: one connection and its statements."""

    def __init__(self, connection: asyncpg.Connection[Any], sql: Mapping[str, str]) -> None:
        self._connection = connection
        self._sql = sql

    async def fetch(self, name: str, *arguments: object) -> Sequence[Any]:
        return await self._connection.fetch(self._sql[name], *arguments)

    async def append(self, *batch: Append) -> list[tuple[str, int, int]]:
        """(status, version, position) of each command."""
        numbered = list(enumerate(batch, start=1))
        events = [(number, event) for number, one in numbered for event in one.events]
        claims = [(number, name) for number, one in numbered for name in one.claims]
        releases = [(number, name) for number, one in numbered for name in one.releases]
        rows = await self.fetch(
            "append",
            [UUID(one.command_id) for one in batch],
            [one.request_hash for one in batch],
            [UUID(one.stream_id) for one in batch],
            [one.category for one in batch],
            [one.expected_version for one in batch],
            [one.metadata for one in batch],
            [number for number, _ in events],
            [event.name for _, event in events],
            [event.data for _, event in events],
            [number for number, _ in claims],
            [name for _, name in claims],
            [number for number, _ in releases],
            [name for _, name in releases],
        )
        return [(row["status"], row["version"], row["position"] or 0) for row in rows]

    async def read(self, after: int = 0) -> list[StoredEvent]:
        return [StoredEvent(*row) for row in await self.fetch("read", after, 1_000, 4 * 1024**2)]


@asynccontextmanager
async def _then(dsn: str, file_name: str) -> AsyncIterator[Then]:
    connection = await asyncpg.connect(dsn, timeout=TIMEOUT_S, server_settings=SESSION_THEN)
    try:
        yield Then(connection, parsed((FOLDER / file_name).read_text()))
    finally:
        await connection.close()


async def test_it_starts_on_the_newer_schema(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_then = migrations.migrations()[:MIGRATIONS_THEN]
    assert len(migrations.migrations()) > MIGRATIONS_THEN
    monkeypatch.setattr(migrations, "migrations", lambda: known_then)
    await check_schema(database.log_dsn)


async def test_both_releases_write_one_log(database: Database) -> None:
    async with (
        _then(database.log_dsn, "log.sql") as then,
        PostgresEventStore(database.log_dsn) as now,
    ):
        first = append_of(2, claims=("name/a",))
        assert await then.append(first) == [("stored", 2, 2)]
        second = append_of(1, stream_id=first.stream_id, expected_version=2)
        third = append_of(1, releases=("name/a",), stream_id=first.stream_id, expected_version=3)
        assert [one.status for one in await now.append([second])] == [Status.STORED]
        assert await then.append(second, append_of(1)) == [("replayed", 3, 3), ("stored", 1, 4)]
        stale = append_of(1, stream_id=first.stream_id, expected_version=2)
        taken = append_of(1, claims=("name/a",))
        refused = await then.append(stale, taken)
        assert [status for status, *_ in refused] == ["version_conflict", "claim_conflict"]
        assert [one.status for one in await now.append([stale, taken])] == [
            Status.VERSION_CONFLICT, Status.CLAIM_CONFLICT,
        ]  # fmt: skip
        assert [one.status for one in await now.append([third, append_of(3)])] == [
            Status.STORED, Status.STORED,
        ]  # fmt: skip
        assert await then.append(append_of(1, claims=("name/a",))) == [("stored", 1, 9)]
        (again,) = await now.append([first])
        assert (again.status, again.position) == (Status.REPLAYED, 2)
        await _reads_agree(then, now, first.stream_id, first.command_id)
        await _chain_is_intact(now)


async def _reads_agree(
    then: Then, now: PostgresEventStore, stream_id: str, command_id: str
) -> None:
    events = await then.read()
    assert [event.position for event in events] == list(range(1, 10))
    assert events == list(await now.read(0, limit=1_000))
    assert await then.read(7) == events[7:]
    stream = [StoredEvent(*row) for row in await then.fetch("read_stream", UUID(stream_id), 1, 9)]
    assert stream == list(await now.read_stream(stream_id, after_version=1))
    assert [event.version for event in stream] == [2, 3, 4]
    (head,) = await then.fetch("head")
    known = await now.head()
    assert (head["position"], head["hash"], head["time"]) == (9, known.hash, known.time)
    seals = await then.fetch("seals", 0, 100)
    assert [row["last_position"] for row in seals] == [2, 3, 4, 8, 9]
    (found,) = await then.fetch("find_command", UUID(command_id))
    assert (found["version"], found["position"], found["event_count"]) == (2, 2, 2)
    assert (await then.fetch("prune_commands", 100))[0][0] == 0


async def _chain_is_intact(now: PostgresEventStore) -> None:
    link = sealing.GENESIS
    events = await now.read(0, limit=1_000)
    for seal in await now.seals(0, limit=1_000):
        sealed = events[seal.first_position - 1 : seal.last_position]
        link = sealing.link(
            link, first=seal.first_position, last=seal.last_position, time=seal.time,
            digests=[sealing.digest(event) for event in sealed],
        )  # fmt: skip
        assert link == seal.hash
    assert link == (await now.head()).hash


async def test_both_releases_keep_one_vault(database: Database) -> None:
    envelope = Envelope(b"k" * 32)
    field, stream_id = "credentials", str(uuid4())
    from_then, from_now = str(uuid4()), str(uuid4())
    async with (
        _then(database.vault_dsn, "vault.sql") as then,
        PostgresVault(database.vault_dsn, envelope) as now,
    ):
        await then.fetch(
            "add_data_key",
            UUID(stream_id), envelope.master_key_id, envelope.new_data_key(stream_id),
        )  # fmt: skip
        (key,) = await then.fetch("data_key", UUID(stream_id))
        sealed = envelope.seal(
            b"of then", secret_id=from_then, stream_id=stream_id, field=field, **dict(key)
        )
        await then.fetch("add_secret", UUID(from_then), UUID(stream_id), field, sealed)
        await now.put(secret_id=from_now, stream_id=stream_id, field=field, secret=b"of now")
        pending = await then.fetch("older", 0.0, UUID(int=0), 10)
        assert {(str(row["secret_id"]), row["used"]) for row in pending} == {
            (from_then, False), (from_now, False),
        }  # fmt: skip
        await then.fetch("mark_used", UUID(from_now))
        await now.mark_used(from_then)
        for secret_id, secret in ((from_then, b"of then"), (from_now, b"of now")):
            (row,) = await then.fetch("read", UUID(secret_id), UUID(stream_id), field)
            opened = envelope.open(
                row["sealed"], wrapped_key=row["wrapped_key"], master_key_id=row["master_key_id"],
                secret_id=secret_id, stream_id=stream_id, field=field,
            )  # fmt: skip
            assert opened == secret
            assert await now.read(secret_id=secret_id, stream_id=stream_id, field=field) == secret
        await then.fetch("discard", UUID(from_now))
        assert await then.fetch("read", UUID(from_now), UUID(stream_id), field), "it is used"
        await then.fetch("shred", UUID(stream_id))
        assert await then.fetch("older", 0.0, UUID(int=0), 10) == []
