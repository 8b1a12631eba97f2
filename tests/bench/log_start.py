"""`log.start_100k`: a registry and a follower start with 100,000 flows, from spawn to caught up.

Through the snapshot, TAIL_EVENTS behind the head as in the middle between two; beside it the same
by replay. Each process alone, and both spawned at once (that one is the figure).
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import asyncpg
from catalog import snapshot
from catalog.catalog import Catalog
from devstack import Postgres, free_ports
from devstack.process import Process
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_pool import PostgresPool
from registry.adapters.postgres_snapshots import PostgresSnapshots
from registry.application.projection import recorded
from registry.application.snapshotter import EVERY_EVENTS

from tests.bench.measurement import Measurement, measured
from tests.support.long_log import ACCOUNTS, ALGORITHMS, CONNECTIONS, fill
from tests.support.registry import Database, environment, fresh_database

REPETITIONS = 3
FLOWS = 100_000
TAIL_EVENTS = EVERY_EVENTS // 2
EVENTS = ACCOUNTS + ALGORITHMS + CONNECTIONS + 3 * FLOWS
START_TIMEOUT_S = 180.0
PROBE_PAUSE_S = 0.01


@dataclass(slots=True)
class Taken:
    """Seconds, one a repetition."""

    registry: list[float] = field(default_factory=list)
    follower: list[float] = field(default_factory=list)
    both: list[float] = field(default_factory=list)

    def notes(self, way: str) -> dict[str, float | str]:
        return {
            f"registry alone, {way} (s)": round(statistics.median(self.registry), 2),
            f"follower alone, {way} (s)": round(statistics.median(self.follower), 2),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """One database and the processes that start on it."""

    database: Database
    folder: Path
    address: str

    def spawn_registry(self) -> Process:
        variables = environment(self.database, self.folder)
        variables["EVENTFLOWS_REGISTRY_LISTEN"] = self.address
        return Process.spawn(
            [sys.executable, "-m", "registry"],
            log_path=self.folder / f"registry-{uuid4().hex[:6]}.log",
            env=variables,
        )

    def spawn_follower(self, way: str) -> Process:
        return Process.spawn(
            [
                sys.executable, "-m", "tests.bench.follower_start",
                self.address, str(self.folder / "router.token"), way,
            ],
            log_path=self.folder / f"follower-{uuid4().hex[:6]}.log",
        )  # fmt: skip

    async def measure(self, way: str, taken: Taken) -> None:
        """The registry alone, then a follower beside it, then both at once."""
        await self._prepare(way)
        started_s = time.monotonic()
        registry = self.spawn_registry()
        await _told(registry, '"serving"')
        taken.registry.append(time.monotonic() - started_s)
        try:
            started_s = time.monotonic()
            await self._followed(self.spawn_follower(way))
            taken.follower.append(time.monotonic() - started_s)
        finally:
            registry.kill()
        await self._prepare(way)
        started_s = time.monotonic()
        registry, follower = self.spawn_registry(), self.spawn_follower(way)
        try:
            await self._followed(follower)
            taken.both.append(time.monotonic() - started_s)
        finally:
            registry.kill()

    async def _followed(self, follower: Process) -> None:
        code = await follower.wait(timeout_s=START_TIMEOUT_S)
        if code != 0 or follower.log_tail().splitlines()[-1] != str(FLOWS):
            raise RuntimeError(f"the follower ended with {code}: {follower.log_tail()}")

    async def _prepare(self, way: str) -> None:
        """Exactly the snapshot that the way needs: the registry may have taken another."""
        connection = await asyncpg.connect(self.database.owner_dsn)
        await connection.execute("DELETE FROM log.snapshots")
        if way == "snapshot":
            await connection.execute("INSERT INTO log.snapshots SELECT * FROM kept_snapshots")
            await connection.execute("INSERT INTO log.snapshot_parts SELECT * FROM kept_parts")
        await connection.close()


async def measure() -> Measurement:
    """Alternate the two ways on one database."""
    through, replayed = Taken(), Taken()
    postgres = Postgres()
    await postgres.start()
    try:
        database = await fresh_database(postgres)
        size_bytes = await _filled(database)
        with TemporaryDirectory() as name:
            starts = Starts(
                database=database, folder=Path(name), address=f"127.0.0.1:{free_ports(1)[0]}"
            )
            for _ in range(REPETITIONS):
                await starts.measure("replay", replayed)
                await starts.measure("snapshot", through)
    finally:
        await postgres.stop()
    return measured(
        "log.start_100k",
        through.both,
        unit="s, registry and follower at once",
        reference="the same by replay of the log",
        reference_values=replayed.both,
        packages=["msgspec", "asyncpg", "grpcio", "uvloop"],
        notes={
            **through.notes("snapshot"),
            **replayed.notes("replay"),
            "flows": FLOWS,
            "events": EVENTS + TAIL_EVENTS,
            "events after the snapshot": TAIL_EVENTS,
            "bytes of the snapshot": size_bytes,
        },
    )


async def _filled(database: Database) -> int:
    """The log, with a snapshot TAIL_EVENTS before its end put by; the snapshot's size in bytes."""
    async with (
        PostgresEventStore(database.log_dsn) as store,
        PostgresPool(database.log_dsn) as pool,
    ):
        await fill(store, EVENTS + TAIL_EVENTS, topics=FLOWS)
        (seal,) = await store.seals(EVENTS, limit=1)
        catalog = Catalog()
        while catalog.position < seal.last_position:
            limit = min(1_000, seal.last_position - catalog.position)
            for stored in await store.read(catalog.position, limit=limit):
                catalog.apply(recorded(stored))
        parts = list(snapshot.dump(catalog))
        await PostgresSnapshots(pool).put(
            position=catalog.position, fold=snapshot.FOLD, seal_hash=seal.hash, parts=parts
        )
    connection = await asyncpg.connect(database.owner_dsn)
    await connection.execute("CREATE TABLE kept_snapshots AS SELECT * FROM log.snapshots")
    await connection.execute("CREATE TABLE kept_parts AS SELECT * FROM log.snapshot_parts")
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return sum(map(len, parts))


async def _told(process: Process, word: str) -> None:
    """Return when the process's log has the word."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while word not in process.log_tail():
            if not process.running:
                raise RuntimeError(f"the registry ended: {process.log_tail()}")
            await asyncio.sleep(PROBE_PAUSE_S)
