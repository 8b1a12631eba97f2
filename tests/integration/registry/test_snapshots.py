"""Snapshots and catalogs of the past through real gRPC, on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import grpc.aio
import pytest
from catalog import snapshot
from catalog.catalog import Catalog
from catalog.follow import CatalogFollower
from eventflows.registry.v1 import registry_pb2 as pb
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_pool import PostgresPool
from registry.adapters.postgres_snapshots import PostgresSnapshots
from registry.application.projection import recorded
from servicekit.clock import monotonic_s
from servicekit.identity import ServiceToken
from servicekit.rpc import rpc_channel

from tests.support.catalog_answers import answers
from tests.support.long_log import fill
from tests.support.registry import Database, Served, account_request, refusal, served

WAIT_S = 20.0
EVENTS, TOPICS = 2_400, 300
EVERY_EVENTS = 1_000


@pytest.fixture
async def database(database: Database) -> Database:
    """With the log of a believable cluster."""
    async with PostgresEventStore(database.log_dsn) as store:
        assert await fill(store, EVENTS, topics=TOPICS) == EVENTS
    return database


@pytest.fixture
async def registry(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Served]:
    """Serves that log and takes a snapshot of it at once."""
    monkeypatch.setattr("registry.application.snapshotter.EVERY_EVENTS", EVERY_EVENTS)
    async with served(database, tmp_path) as registry:
        yield registry


async def folded(database: Database, position: int) -> Catalog:
    """The catalog at a position, straight from the rows."""
    catalog = Catalog()
    async with PostgresEventStore(database.log_dsn) as store:
        while catalog.position < position:
            limit = min(1_000, position - catalog.position)
            for stored in await store.read(catalog.position, limit=limit):
                catalog.apply(recorded(stored))
    return catalog


def told(catalog: Catalog) -> dict[str, object]:
    ids = [account.account_id for account in catalog.accounts()]
    ids += [connection.connection_id for connection in catalog.connections()]
    return answers(catalog, ids=ids, topics=["orders-of-region-1"])


async def kept_positions(database: Database, *, at_least: int) -> list[int]:
    """The kept snapshots, once there are so many."""
    async with PostgresPool(database.log_dsn) as pool, asyncio.timeout(WAIT_S):
        snapshots = PostgresSnapshots(pool)
        while len(found := list(await snapshots.positions(fold=snapshot.FOLD))) < at_least:
            await asyncio.sleep(0.02)
        return found


def request(**as_of: Any) -> pb.ReadCatalogRequest:
    return pb.ReadCatalogRequest(fold=snapshot.FOLD, as_of=pb.AsOf(**as_of) if as_of else None)


async def read(registry: Served, asked: pb.ReadCatalogRequest) -> tuple[pb.Moment, Catalog]:
    """(the moment of the first part, the catalog)."""
    async with registry.client("gateway") as client:
        parts = [part async for part in client.ReadCatalog(asked, timeout=WAIT_S)]
    assert all(len(part.data) <= snapshot.PART_BYTES_MAX for part in parts)
    assert [part.HasField("moment") for part in parts] == [True] + [False] * (len(parts) - 1)
    return parts[0].moment, snapshot.restore(part.data for part in parts)


# ---- ReadCatalog ---------------------------------------------------------------------------------


async def test_without_a_moment_the_newest_kept_snapshot_comes(
    registry: Served, database: Database
) -> None:
    (position,) = await kept_positions(database, at_least=1)
    moment, catalog = await read(registry, request())
    assert moment.position == catalog.position == position == EVENTS
    async with registry.client("gateway") as client:
        await client.CreateAccount(account_request("later"))
    again, _ = await read(registry, request())
    assert again == moment
    assert told(catalog) == told(await folded(database, position))


async def test_without_a_kept_snapshot_the_catalog_of_now_comes(
    database: Database, tmp_path: Path
) -> None:
    async with served(database, tmp_path) as registry:  # no snapshot before 50,000 events
        moment, catalog = await read(registry, request())
    assert moment.position == catalog.position == EVENTS
    assert told(catalog) == told(await folded(database, EVENTS))


@pytest.mark.parametrize("position", [0, 1, 1_234, EVENTS])
async def test_with_a_position_the_catalog_of_that_moment_comes(
    registry: Served, database: Database, position: int
) -> None:
    moment, catalog = await read(registry, request(position=position))
    assert moment.position == catalog.position == position
    assert told(catalog) == told(await folded(database, position))


async def test_with_a_time_the_catalog_of_that_moment_comes(
    registry: Served, database: Database
) -> None:
    async with PostgresEventStore(database.log_dsn) as store:
        before, after = await store.seals(1_500, limit=2)
    asked = request(time=after.time - timedelta(microseconds=1))
    moment, catalog = await read(registry, asked)
    assert moment.position == catalog.position == before.last_position
    assert moment.time.ToDatetime(tzinfo=UTC) == before.time
    assert (await read(registry, asked))[0] == moment


@pytest.mark.parametrize(
    "asked",
    [
        request(position=-1),
        request(position=EVENTS + 1),
        request(time=datetime(2020, 1, 1, tzinfo=UTC)),
        request(time=datetime(2999, 1, 1, tzinfo=UTC)),
    ],
    ids=["negative", "beyond the head", "before the log", "in the future"],
)
async def test_a_moment_that_the_log_does_not_have_is_refused(
    registry: Served, asked: pb.ReadCatalogRequest
) -> None:
    status, _ = await refusal(read(registry, asked))
    assert status is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("fold", ["", "0-0000000000000000"])
async def test_another_fold_is_told_to_replay_the_log(registry: Served, fold: str) -> None:
    async with registry.client("gateway") as client:
        with pytest.raises(grpc.aio.AioRpcError, match="replay the log by Watch") as refused:
            await anext(aiter(client.ReadCatalog(pb.ReadCatalogRequest(fold=fold))))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_too_many_readers_are_told_to_come_again(
    registry: Served, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept_positions(database, at_least=1)
    monkeypatch.setattr("registry.entrypoints.catalog_rpc.READERS_MAX", 0)
    status, _ = await refusal(read(registry, request()))
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED


# ---- starts --------------------------------------------------------------------------------------


async def test_a_registry_starts_from_its_snapshot_and_knows_what_came_after_it(
    registry: Served, database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await kept_positions(database, at_least=1)
    async with registry.client("gateway") as client:
        later = await client.CreateAccount(account_request("later"))
    with caplog.at_level("INFO"):
        async with served(database, tmp_path) as other:
            moment, catalog = await read(other, request(position=later.position))
    assert "began with a snapshot" in caplog.text
    assert moment.position == later.position
    assert catalog.account_named("later") is not None


async def test_a_follower_starts_from_the_snapshot_and_goes_on_live(
    registry: Served, database: Database
) -> None:
    await kept_positions(database, at_least=1)
    token = ServiceToken.load(registry.folder / "router.token")
    async with rpc_channel(registry.address, token) as channel:
        follower = CatalogFollower(channel, clock=monotonic_s)
        changes = follower.changes()
        following = asyncio.create_task(follower.run())
        try:
            async with asyncio.timeout(WAIT_S):
                assert await anext(changes) == EVENTS  # at once: a page has 1,000
                await follower.caught_up.wait()
            async with registry.client("gateway") as client:
                later = await client.CreateAccount(account_request("later"))
            await follower.wait_for(later.position, timeout_s=WAIT_S)
        finally:
            following.cancel()
            await asyncio.wait({following})
    assert told(follower.catalog) == told(await folded(database, later.position))


async def test_a_stop_leaves_a_snapshot_for_the_next_start(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.application.snapshotter.AT_STOP_EVENTS_MIN", 1)
    async with served(database, tmp_path):
        pass
    assert await kept_positions(database, at_least=1) == [EVENTS]


async def test_two_registries_keep_one_snapshot_between_them(
    registry: Served, database: Database, tmp_path: Path
) -> None:
    async with served(database, tmp_path) as other:
        assert await kept_positions(database, at_least=1) == [EVENTS]
        assert (await read(other, request()))[0] == (await read(registry, request()))[0]


# ---- the table and its guards --------------------------------------------------------------------


async def put_one(database: Database) -> None:
    async with (
        PostgresEventStore(database.log_dsn) as store,
        PostgresPool(database.log_dsn) as pool,
    ):
        head = await store.head()
        await PostgresSnapshots(pool).put(
            position=head.position, fold=snapshot.FOLD, seal_hash=head.hash, parts=[b"part"]
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log.snapshots SET hash = hash",
        "UPDATE log.snapshot_parts SET data = data",
        "DELETE FROM log.snapshots",
        "INSERT INTO log.snapshots (fold, position, hash, parts, bytes) "
        "VALUES ('x', 1, decode(repeat('00', 32), 'hex'), 1, 1)",
        "INSERT INTO log.snapshot_parts VALUES ('x', 1, 0, 'x')",
        "TRUNCATE log.snapshots CASCADE",
        "DROP TABLE log.snapshot_parts",
    ],
)
@pytest.mark.parametrize("role", ["log", "ops"])
async def test_nobody_changes_snapshots_but_by_the_functions(
    database: Database, statement: str, role: str
) -> None:
    await put_one(database)
    connection = await asyncpg.connect(database.log_dsn if role == "log" else database.ops_dsn)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
        assert await connection.fetchval("SELECT count(*) FROM log.own_snapshots") == 1
    finally:
        await connection.close()


async def test_a_snapshot_whose_seal_is_another_is_not_seen(database: Database) -> None:
    """As after the log was restored from a backup and went on otherwise."""
    await put_one(database)
    connection = await asyncpg.connect(database.owner_dsn)
    try:
        await connection.execute("UPDATE log.snapshots SET hash = sha256(hash)")
    finally:
        await connection.close()
    async with PostgresPool(database.log_dsn) as pool:
        assert await PostgresSnapshots(pool).newest(fold=snapshot.FOLD) is None
    await put_one(database)  # takes the place of the foreign one
    assert await kept_positions(database, at_least=1) == [EVENTS]


async def test_a_time_after_the_last_seal_waits_for_the_append_that_is_under_way(
    database: Database,
) -> None:
    writer = await asyncpg.connect(database.owner_dsn)
    reader = await asyncpg.connect(database.log_dsn)
    watcher = await asyncpg.connect(database.owner_dsn)
    try:
        append = writer.transaction()
        await append.start()
        await writer.execute("SELECT FROM log.head WHERE id = 1 FOR UPDATE")
        now = await watcher.fetchval("SELECT clock_timestamp()")
        asked = asyncio.create_task(
            reader.fetchrow("SELECT * FROM log.seal_at($1)", now - timedelta(microseconds=1))
        )
        async with asyncio.timeout(WAIT_S):
            while not await watcher.fetchval(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)",
                reader.get_server_pid(),
            ):
                assert not asked.done()
        await append.rollback()
        async with asyncio.timeout(WAIT_S):
            found = await asked
        assert found is not None
        assert found["last_position"] == EVENTS
    finally:
        for connection in (writer, reader, watcher):
            await connection.close()


async def test_a_connection_that_is_lost_in_the_middle_leaves_no_half_snapshot(
    database: Database,
) -> None:
    connection = await asyncpg.connect(database.log_dsn)
    head = await connection.fetchrow("SELECT position, hash FROM log.head")
    assert head is not None
    await connection.execute("BEGIN")
    await connection.fetchval(
        "SELECT log.begin_snapshot('half', $1, $2, 2, 10)", head["position"], head["hash"]
    )
    await connection.fetchval(
        "SELECT log.add_snapshot_part('half', $1, 0, 'first')", head["position"]
    )
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")
    async with PostgresPool(database.log_dsn) as pool:
        assert await PostgresSnapshots(pool).newest(fold="half") is None
