"""The log read from its beginning: `log.replay_vs_copy` and `log.replay`, 1 million events.

The first is pages of the store beside `psql`'s binary COPY of the same rows; the second is what a
follower does without a snapshot: pages through `Watch`, decoded, applied to a catalog.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import grpc.aio
from catalog import follow
from catalog.catalog import Catalog
from catalog.codec import recorded_from_message
from catalog.follow import CatalogFollower
from devstack import Postgres
from devstack.postgres import program
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows.registry.v1.registry_pb2_grpc import RegistryStub
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.application.log_pages import PAGE_EVENTS_MAX
from servicekit.clock import monotonic_s

from tests.bench.cores import cpu_s
from tests.bench.measurement import Measurement, measured
from tests.support.long_log import fill
from tests.support.registry import Database, fresh_database
from tests.support.registry_process import registry_process

EVENTS = 1_000_000
REPETITIONS = 3
RUN_TIMEOUT_S = 300.0
SAMPLE_EVENTS = 50_000
COPY = (
    r"\copy (SELECT position, stream_id, version, type, time, data, metadata FROM log.events"
    " ORDER BY position) TO '/dev/null' (FORMAT binary)"
)


async def measure_pages() -> Measurement:
    """Alternate COPY and pages on one server."""
    async with _long_log() as database:
        values, references = [], []
        for _ in range(REPETITIONS):
            references.append(EVENTS / await _copy_s(database))
            values.append(EVENTS / await _pages_s(database))
    return measured(
        "log.replay_vs_copy",
        values,
        unit="events/s",
        reference="psql, binary COPY of the same rows",
        reference_values=references,
        packages=["asyncpg", "uvloop"],
        notes={"events": EVENTS, "events a page": PAGE_EVENTS_MAX},
    )


async def measure_catalog() -> Measurement:
    """Follow a real registry process from position 0, beside COPY."""
    notes: dict[str, float | str] = {}
    async with _long_log() as database:
        with TemporaryDirectory() as folder:
            async with registry_process(database, Path(folder)) as registry:
                values, references = [], []
                assert registry.process is not None
                for _ in range(REPETITIONS):
                    references.append(EVENTS / await _copy_s(database))
                    served_s, own_s = cpu_s(registry.process.pid), cpu_s(os.getpid())
                    async with registry.channel() as channel:
                        values.append(
                            EVENTS / await _follow_s(CatalogFollower(channel, clock=monotonic_s))
                        )
                    served_s = cpu_s(registry.process.pid) - served_s
                    own_s = cpu_s(os.getpid()) - own_s
                    notes |= {
                        "µs of CPU an event, registry": round(served_s / EVENTS * 1e6, 2),
                        "µs of CPU an event, follower": round(own_s / EVENTS * 1e6, 2),
                    }
                async with registry.channel() as channel:
                    notes |= await _parts_of_following(channel)
    return measured(
        "log.replay",
        values,
        unit="events/s",
        reference="psql, binary COPY of the same rows",
        reference_values=references,
        packages=["asyncpg", "grpcio", "protobuf", "uvloop"],
        notes={"events": EVENTS, **notes},
    )


@asynccontextmanager
async def _long_log() -> AsyncIterator[Database]:
    postgres = Postgres()
    await postgres.start()
    try:
        database = await fresh_database(postgres)
        async with PostgresEventStore(database.log_dsn) as store:
            assert await fill(store, EVENTS) == EVENTS
        yield database
    finally:
        await postgres.stop()


async def _copy_s(database: Database) -> float:
    at = urlsplit(database.log_dsn)
    with TemporaryDirectory() as folder:
        passwords = Path(folder) / "pgpass"
        passwords.touch(mode=0o600)
        passwords.write_text(f"*:*:*:{at.username}:{at.password}\n")
        address = at._replace(netloc=f"{at.username}@{at.hostname}:{at.port}").geturl()
        started_s = time.monotonic()
        run = await asyncio.create_subprocess_exec(
            str(program("psql")), "--no-psqlrc", "--quiet", f"--command={COPY}", address,
            env={"PGPASSFILE": str(passwords)},
        )  # fmt: skip
        async with asyncio.timeout(RUN_TIMEOUT_S):
            code = await run.wait()
        if code != 0:
            raise RuntimeError(f"psql ended with {code}")
        return time.monotonic() - started_s


async def _pages_s(database: Database) -> float:
    """Pages one after the other, as verification and the registry's own catalog read them."""
    async with PostgresEventStore(database.log_dsn) as store:
        await store.read(0, limit=1)  # connected
        gc.collect()
        gc.freeze()  # as the registry does once it serves
        started_s = time.monotonic()
        position = 0
        while page := await store.read(position, limit=PAGE_EVENTS_MAX):
            position = page[-1].position
        took_s = time.monotonic() - started_s
        gc.unfreeze()
    assert position == EVENTS
    return took_s


async def _follow_s(follower: CatalogFollower) -> float:
    snapshots_from, follow.SNAPSHOT_EVENTS_MIN = follow.SNAPSHOT_EVENTS_MIN, EVENTS + 1
    started_s = time.monotonic()
    following = asyncio.create_task(follower.run())
    try:
        await follower.wait_for(EVENTS, timeout_s=RUN_TIMEOUT_S)
        return time.monotonic() - started_s
    finally:
        follow.SNAPSHOT_EVENTS_MIN = snapshots_from
        following.cancel()
        await asyncio.wait({following})


async def _parts_of_following(channel: grpc.aio.Channel) -> dict[str, float | str]:
    """Where a follower's time goes, over the first events: receive, decode, apply."""
    batches: list[pb.WatchBatch] = []
    call = RegistryStub(channel).Watch(pb.WatchRequest())
    started_s = time.monotonic()
    async for batch in call:
        batches.append(batch)
        if batch.to_position >= SAMPLE_EVENTS:
            break
    call.cancel()
    received_s = time.monotonic()
    recorded = [recorded_from_message(event) for batch in batches for event in batch.events]
    decoded_s = time.monotonic()
    catalog = Catalog()
    for one in recorded:
        catalog.apply(one)
    applied_s = time.monotonic()
    return {
        f"µs an event, {name}": round(took_s / len(recorded) * 1e6, 2)
        for name, took_s in (
            ("received alone", received_s - started_s),
            ("decoded alone", decoded_s - received_s),
            ("applied alone", applied_s - decoded_s),
        )
    }
