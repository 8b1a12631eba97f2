"""Partitions to files: the log goes on, old things can still be changed, a crash is mended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import grpc.aio
import pytest
from catalog import snapshot
from devstack import Postgres
from devstack.process import Process
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import EventflowsError, InvalidInput, NotFound, StateForbids
from prometheus_client import CollectorRegistry
from registry import bootstrap
from registry.adapters.envelope import Envelope
from registry.adapters.memory_vault import MemoryVault
from registry.adapters.postgres_archive import PostgresArchive, PostgresLogParts
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_pool import PostgresPool
from registry.adapters.postgres_snapshots import PostgresSnapshots
from registry.adapters.postgres_timeline import PostgresTimeline
from registry.application.archive import Archiver
from registry.application.export import Exporter
from registry.application.verify import verify
from registry.ports.event_store import Archived
from sealedlog.export_file import verify_file
from sealedlog.verification import BEGINNING, ChainPoint

from tests.support.exports import (
    access_request,
    account_append,
    connected,
    export_to,
    fill,
    import_file,
    log_of,
    tamper,
)
from tests.support.registry import (
    Database,
    account_request,
    connection_request,
    context,
    environment,
    fresh_database,
    refusal,
    served,
    verified,
)

PARTITION_SIZE = 10
TIMEOUT_S = 60.0


async def with_small_partitions(database: Database) -> None:
    """As if the log had been made with partitions of 10 positions."""
    async with connected(database.owner_dsn) as connection:
        await connection.execute(
            "CREATE OR REPLACE FUNCTION log.partition_size() RETURNS bigint "
            f"LANGUAGE sql IMMUTABLE RETURN {PARTITION_SIZE}"
        )
        await connection.execute("SET ROLE log_owner")
        names = await connection.fetch("SELECT name FROM log.partitions")
        for row in names:
            await connection.execute(f"DROP TABLE log.{row['name']}")
        await connection.execute("UPDATE log.head SET covered_to = 0")
        await connection.execute("SELECT log.add_partition() FROM generate_series(1, 2)")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """An archiver over a database, and what a test looks at."""

    database: Database
    store: PostgresEventStore
    parts: PostgresLogParts
    archive: PostgresArchive
    archiver: Archiver
    registry: bootstrap.Registry

    async def append(self, batches: int, events: int = 1) -> None:
        """Batches of accounts."""
        for _ in range(batches):
            await self.store.append([account_append() for _ in range(events)])

    async def snapshot(self) -> int:
        """Take a snapshot of the catalog now; its position."""
        await self.registry.projection.reach_head()
        assert await self.registry.snapshotter.take()
        return self.registry.projection.catalog.position

    async def tables(self) -> list[str]:
        """Tables of events that exist, attached or not."""
        async with connected(self.database.owner_dsn) as connection:
            rows = await connection.fetch(
                "SELECT relname FROM pg_class WHERE relname ~ '^events_from_[0-9]+$' ORDER BY 1"
            )
        return [row["relname"] for row in rows]


@asynccontextmanager
async def world_on(database: Database) -> AsyncIterator[World]:
    """Everything that `python -m registry archive` uses, and a registry's own catalog."""
    async with (
        PostgresEventStore(database.log_dsn) as store,
        PostgresPool(database.log_dsn) as pool,
        PostgresArchive(database.ops_dsn) as archive,
    ):
        parts = PostgresLogParts(pool)
        snapshots = PostgresSnapshots(pool)
        yield World(
            database=database,
            store=store,
            parts=parts,
            archive=archive,
            archiver=Archiver(
                store=store,
                parts=parts,
                archive=archive,
                snapshots=snapshots,
                exporter=Exporter(store=store, parts=parts),
            ),
            registry=bootstrap.Registry.over(
                store,
                MemoryVault(Envelope(bytes(32))),
                collector=CollectorRegistry(),
                snapshots=snapshots,
                timeline=PostgresTimeline(pool),
                parts=parts,
            ),
        )


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    """A log of partitions of 10 positions."""
    await with_small_partitions(database)
    async with world_on(database) as world:
        yield world


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """For the files of the archive."""
    (tmp_path / "archive").mkdir()
    return tmp_path / "archive"


async def grown(world: World) -> int:
    """35 events in batches of 3 and two snapshots above 30; where the older one is."""
    await world.append(11, events=3)
    older = await world.snapshot()
    await world.append(2)
    await world.snapshot()
    return older


async def test_what_lies_below_two_snapshots_goes_to_files(world: World, folder: Path) -> None:
    below = await grown(world)
    whole = await verify(world.store)
    files = await world.archiver.run(below=below, folder=folder)
    # The batch 10 to 12 begins in the first partition, so the first file goes up to its end.
    assert [file.name for file in files] == [
        "log-000000000000001-000000000000012.export",
        "log-000000000000013-000000000000021.export",
        "log-000000000000022-000000000000030.export",
    ]
    after = BEGINNING
    for file in files:
        manifest = verify_file(file)
        assert manifest.after == after, "each file goes on where the one before it ends"
        after = manifest.last
    assert (await world.tables())[0] == "events_from_000000000000031"
    archived = await world.parts.archived()
    assert archived is not None
    assert (archived.sealed, archived.dropped) == (after, True)
    assert archived.partition.last_position == 30
    report = await verify(world.store, after=after)
    assert (report.problem, report.head) == ("", whole.head), "the chain goes on"


async def test_reads_below_the_archive_say_so(world: World, folder: Path) -> None:
    stream = account_append()
    await world.store.append([stream])
    below = await grown(world)
    await world.archiver.run(below=below, folder=folder)
    for after in (0, 5, 29):
        with pytest.raises(Archived, match="up to 30 were archived"):
            await world.store.read(after, limit=10)
    with pytest.raises(Archived):
        await world.store.read_stream(stream.stream_id)
    assert (await world.store.read(30, limit=10))[0].position == 31
    assert await world.store.read_stream(stream.stream_id, after_version=1) == []


async def test_nothing_is_archived_that_does_not_lie_below_two_snapshots(
    world: World, folder: Path
) -> None:
    await world.append(15)
    with pytest.raises(StateForbids, match="second newest snapshot, which is at 0"):
        await world.archiver.run(below=10, folder=folder)
    await world.snapshot()
    await world.append(2)
    with pytest.raises(StateForbids, match="which is at 0"):
        await world.archiver.run(below=10, folder=folder)
    await world.snapshot()
    with pytest.raises(StateForbids, match="which is at 15"):
        await world.archiver.run(below=16, folder=folder)
    assert await world.archiver.run(below=9, folder=folder) == []
    assert list(folder.iterdir()) == []
    assert len(await world.archiver.run(below=15, folder=folder)) == 1


@pytest.mark.parametrize("below", [0, -5])
async def test_a_position_that_is_none_is_refused(world: World, folder: Path, below: int) -> None:
    with pytest.raises(InvalidInput):
        await world.archiver.run(below=below, folder=folder)


async def test_a_folder_that_is_not_there_is_refused(world: World, folder: Path) -> None:
    with pytest.raises(NotFound, match="make it"):
        await world.archiver.run(below=5, folder=folder / "none")


STEPS = ("export", "keep_states", "detach", "drop")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_at_any_step_is_mended_by_the_next_run(
    world: World, folder: Path, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = await grown(world)
    whole = await verify(world.store)
    owner: Any = world.archiver if step == "export" else world.archive
    name = "_export" if step == "export" else step
    original = getattr(owner, name)

    async def crashing(*given: Any, **named: Any) -> None:
        if when == "after":
            await original(*given, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, name, crashing)
    with pytest.raises(KeyboardInterrupt):
        await world.archiver.run(below=below, folder=folder)
    monkeypatch.setattr(owner, name, original)
    archived = await world.parts.archived()
    between = await verify(world.store, after=archived.sealed if archived else BEGINNING)
    assert not between.problem, "the log is whole at every step"
    await world.archiver.run(below=below, folder=folder)
    last = await world.parts.archived()
    assert last is not None
    assert last.dropped
    assert last.partition.last_position == 30
    assert len(list(folder.iterdir())) == 3
    report = await verify(world.store, after=last.sealed)
    assert (report.problem, report.head) == ("", whole.head)


async def test_a_file_that_is_not_what_it_was_keeps_its_table(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = await grown(world)
    monkeypatch.setattr(world.archive, "drop", _stop)
    with pytest.raises(KeyboardInterrupt):
        await world.archiver.run(below=below, folder=folder)
    monkeypatch.undo()
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(EventflowsError):
        await world.archiver.run(below=below, folder=folder)
    file.unlink()
    with pytest.raises(NotFound, match="name the folder of the run that was interrupted"):
        await world.archiver.run(below=below, folder=folder)
    assert "events_from_000000000000001" in await world.tables()


async def _stop(*_given: Any, **_named: Any) -> None:
    raise KeyboardInterrupt


async def test_a_log_that_was_tampered_with_is_not_archived(world: World, folder: Path) -> None:
    below = await grown(world)
    await tamper(world.database.owner_dsn, "UPDATE log.events SET data = 'x' WHERE position = 5")
    with pytest.raises(EventflowsError, match="events 4 to 6 are not those that were sealed"):
        await world.archiver.run(below=below, folder=folder)
    assert list(folder.iterdir()) == []
    assert "events_from_000000000000001" in await world.tables()


async def test_the_database_itself_refuses_what_an_operator_may_not_archive(
    world: World, folder: Path
) -> None:
    await grown(world)
    (first, second, *_) = await world.archive.partitions()
    (seal,) = await world.store.seals(first.last_position - 1, limit=1)
    sealed = ChainPoint(position=seal.last_position, hash=seal.hash)
    other = ChainPoint(position=seal.last_position, hash=bytes(32))
    with pytest.raises(StateForbids, match="is not the oldest"):
        await world.archive.detach(second, sealed=sealed, file_sha256=bytes(32))
    with pytest.raises(StateForbids, match="must end with the batch"):
        await world.archive.detach(first, sealed=other, file_sha256=bytes(32))
    with pytest.raises(StateForbids, match="states of 10 streams"):
        await world.archive.detach(first, sealed=sealed, file_sha256=bytes(32))
    with pytest.raises(StateForbids, match="is not detached"):
        await world.archive.drop(first, file_sha256=bytes(32))
    await tamper(world.database.owner_dsn, "DELETE FROM log.snapshots")
    with pytest.raises(StateForbids, match="second newest snapshot"):
        await world.archive.detach(first, sealed=sealed, file_sha256=bytes(32))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT log.import_batches(0, '', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', "
        "'{}', '{}')",
        "SELECT log.keep_stream_states('{}', '{}', '{}', '{}')",
        "SELECT log.detach_partition(1, 1, '', '')",
        "SELECT log.drop_archived(1, '')",
    ],
)
async def test_the_service_itself_may_not_archive_or_import(
    database: Database, statement: str
) -> None:
    async with connected(database.log_dsn) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO log.archived VALUES (1, 1, 1, sha256(''), sha256(''), 'dropped')",
        "DELETE FROM log.archived",
        "UPDATE log.archived SET state = 'detached'",
        "TRUNCATE log.archived",
        "DELETE FROM log.stream_states",
        "UPDATE log.stream_states SET version = 1",
    ],
)
@pytest.mark.parametrize("login", ["log_dsn", "ops_dsn"])
async def test_the_archives_tables_are_written_by_functions_only(
    database: Database, login: str, statement: str
) -> None:
    async with connected(getattr(database, login)) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


async def test_after_an_archive_the_registry_starts_and_old_things_can_be_changed(
    database: Database, tmp_path: Path, folder: Path
) -> None:
    await with_small_partitions(database)
    async with served(database, tmp_path) as registry, registry.client() as gateway:
        ids = await fill(gateway)
    async with world_on(database) as world:
        await world.append(10)
        await world.snapshot()
        await world.append(1)
        await world.snapshot()
        files = await world.archiver.run(below=20, folder=folder)
        assert len(files) == 2
        head = (await world.store.head()).position
    async with served(database, tmp_path) as registry, registry.client("operator") as client:
        progress = await verified(client)
        assert (progress.intact, progress.after_position) == (True, 20)
        assert progress.head_position == head
        async with registry.client() as gateway:
            revoked = await gateway.RevokeApiKey(
                pb.RevokeApiKeyRequest(
                    context=context(), account_id=ids["account"], key_id=ids["key"]
                )
            )
            assert (revoked.changed, revoked.version) == (True, 3)
            again = await gateway.RevokeApiKey(
                pb.RevokeApiKeyRequest(
                    context=context(), account_id=ids["account"], key_id=ids["key"]
                )
            )
            assert not again.changed
            dead = connection_request(connection_id=ids["gone"])
            status, _ = await refusal(gateway.CreateConnection(dead))
            assert status is grpc.StatusCode.FAILED_PRECONDITION, "what was deleted stays deleted"
            status, _ = await refusal(gateway.CreateAccount(account_request("ada")))
            assert status is grpc.StatusCode.ALREADY_EXISTS
            disabled = await gateway.DisableFlow(
                pb.DisableFlowRequest(context=context(), flow_id=ids["flow"])
            )
            assert (disabled.changed, disabled.version) == (True, 3)
            same = await gateway.SetTopicAccess(access_request(ids["connection"], ids["algorithm"]))
            assert not same.changed, "the grant of the archive still stands"
            taken = await gateway.SetTopicAccess(access_request(ids["connection"]))
            granted = await gateway.SetTopicAccess(
                access_request(ids["connection"], ids["algorithm"])
            )
            assert (taken.version, granted.version) == (2, 3)
            published = pb.PublishVersionRequest(
                context=context(), algorithm_id=ids["algorithm"],
                callability=events_pb2.CALLABILITY_PRIVATE,
            )  # fmt: skip
            status, _ = await refusal(gateway.PublishVersion(published))
            assert status is grpc.StatusCode.FAILED_PRECONDITION, "its build was published"
            deleted = await gateway.DeleteConnection(
                pb.DeleteConnectionRequest(context=context(), connection_id=ids["connection"])
            )
            assert (deleted.changed, deleted.version) == (True, 2)
        assert (await verified(client)).intact
        status, words = await _problem(client.ExportLog(pb.ExportLogRequest()))
        assert status is grpc.StatusCode.FAILED_PRECONDITION
        assert "up to 20 were archived" in words
        status, words = await _problem(
            client.VerifyLog(pb.VerifyLogRequest(after_position=5, after_hash=bytes(32)))
        )
        assert status is grpc.StatusCode.FAILED_PRECONDITION
        request = pb.ReadCatalogRequest(fold=snapshot.FOLD)
        assert [part async for part in client.ReadCatalog(request)]


async def test_the_files_and_an_export_of_the_rest_make_the_whole_log_again(
    database: Database, postgres: Postgres, tmp_path: Path, folder: Path
) -> None:
    await with_small_partitions(database)
    async with served(database, tmp_path) as registry, registry.client() as gateway:
        await fill(gateway)
    async with world_on(database) as world:
        below = await grown(world)
        whole = await log_of(database.owner_dsn)
        files = list(await world.archiver.run(below=below, folder=folder))
        archived = await world.parts.archived()
        assert archived is not None
    rest = tmp_path / "rest.export"
    async with served(database, tmp_path) as registry, registry.client("operator") as client:
        await export_to(rest, client, after_position=archived.sealed.position)
    other = await fresh_database(postgres)
    (tmp_path / "other").mkdir()
    async with served(other, tmp_path / "other") as registry:
        async with registry.client("operator") as client:
            for file in [*files, rest]:
                await import_file(client, file)
            assert (await verified(client)).intact
    assert await log_of(other.owner_dsn) == whole


async def _problem(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    return caught.value.code(), caught.value.details() or ""


async def test_the_log_can_be_archived_again_and_again(world: World, folder: Path) -> None:
    whole: list[str] = []
    for _ in range(3):
        below = await grown(world)
        whole += [file.name for file in await world.archiver.run(below=below, folder=folder)]
    archived = await world.archive.archived_partitions()
    assert len(archived) == len(whole) == len(set(whole))
    assert [one.partition.first_position for one in archived] == [
        1 + PARTITION_SIZE * number for number in range(len(archived))
    ]
    report = await verify(world.store, after=archived[-1].sealed)
    assert not report.problem
    assert report.head.position == 35 * 3


async def test_archiving_is_a_task_of_the_registry_command(
    world: World, tmp_path: Path, folder: Path
) -> None:
    below = await grown(world)
    variables = environment(world.database, tmp_path)
    process = Process.spawn(
        [sys.executable, "-m", "registry", "archive", "--below", str(below), "--to", str(folder)],
        log_path=tmp_path / "archive.log",
        env=variables,
    )
    async with asyncio.timeout(TIMEOUT_S):
        code = await process.wait()
    assert code == 0, process.log_tail()
    assert len(list(folder.iterdir())) == 3
    assert str(next(folder.iterdir())) in process.log_tail()
