"""Appends through the group commit, everything on, beside pgbench and PyPI `eventsourcing`."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import asyncpg
from devstack import Postgres
from devstack.postgres import program
from prometheus_client import CollectorRegistry
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.application.group_commit import GroupCommit
from registry.application.metrics import RegistryMetrics
from registry.ports.event_store import Status

from tests.bench.eventsourcing_appends import Task
from tests.bench.measurement import Measurement, measured
from tests.support.registry import append_of, fresh_database

REPETITIONS = 3
CLIENTS = 32
LOAD_S = 5.0
EVENT_BYTES = 152  # a listener's update, as protobuf
RUN_TIMEOUT_S = 60.0

RAW_TABLE = """
CREATE TABLE raw (
    id bigserial PRIMARY KEY, stream_id uuid, version int, type smallint, time timestamptz,
    data bytea, metadata bytea
)
"""
RAW_INSERT = f"""
INSERT INTO raw (stream_id, version, type, time, data, metadata) VALUES (
    gen_random_uuid(), 1, 1, clock_timestamp(),
    decode(repeat('ab', {EVENT_BYTES}), 'hex'), 'metadata'
);
"""
SHAPES = ((1, 32), (1, 2), (2, 16))
"""(processes, connections each) for the 32 threads of `eventsourcing`: the fastest counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What 32 clients came to."""

    per_s: float
    p50_ms: float
    p99_ms: float


async def measure_vs_pgbench() -> Measurement:
    """Alternate the log and pgbench on one server."""
    runs, references = await _alternated(_pgbench)
    last = runs[-1]
    return measured(
        "log.append_vs_pgbench",
        [one.per_s for one in runs],
        unit="appends/s",
        reference="pgbench, raw inserts",
        reference_values=references,
        packages=["asyncpg", "uvloop"],
        notes={
            "p50 ms (last run)": round(last.p50_ms, 2),
            "p99 ms (last run)": round(last.p99_ms, 2),
            "clients": CLIENTS,
            "event bytes": EVENT_BYTES,
        },
    )


async def measure_vs_eventsourcing() -> Measurement:
    """Alternate the log and the library's recorder on one server."""
    rates: dict[tuple[int, int], list[float]] = {shape: [] for shape in SHAPES}

    async def eventsourcing(postgres: Postgres) -> float:
        for shape in SHAPES:
            rates[shape].append(await _eventsourcing(postgres, *shape))
        return max(measured_rates[-1] for measured_rates in rates.values())

    runs, references = await _alternated(eventsourcing)
    return measured(
        "log.append_vs_eventsourcing",
        [one.per_s for one in runs],
        unit="appends/s",
        reference="eventsourcing, PostgreSQL recorder",
        reference_values=references,
        packages=["asyncpg", "uvloop", "eventsourcing", "psycopg-binary"],
        notes={
            "clients": CLIENTS,
            "event bytes": EVENT_BYTES,
            **{
                f"{processes} × {pool} connections, appends/s": round(median(one))
                for (processes, pool), one in rates.items()
            },
        },
    )


async def measure_p99() -> Measurement:
    """The slowest hundredth of the appends beside the median of the same runs."""
    postgres = Postgres()
    await postgres.start()
    try:
        runs = [await _appends(postgres) for _ in range(REPETITIONS)]
    finally:
        await postgres.stop()
    return measured(
        "log.append_p99",
        [one.p99_ms * 1e3 for one in runs],
        unit="µs",
        reference="the p50",
        reference_values=[one.p50_ms * 1e3 for one in runs],
        packages=["asyncpg", "uvloop"],
        notes={"clients": CLIENTS, "event bytes": EVENT_BYTES},
    )


async def _alternated(
    reference: Callable[[Postgres], Awaitable[float]],
) -> tuple[list[Appended], list[float]]:
    postgres = Postgres()
    await postgres.start()
    try:
        runs, references = [], []
        for _ in range(REPETITIONS):
            references.append(await reference(postgres))
            runs.append(await _appends(postgres))
    finally:
        await postgres.stop()
    return runs, references


async def _appends(postgres: Postgres) -> Appended:
    """32 clients, each append to a fresh stream with a claim."""
    database = await fresh_database(postgres)
    metrics = RegistryMetrics(CollectorRegistry())
    took_s: list[float] = []
    async with PostgresEventStore(database.log_dsn) as store:
        commit = GroupCommit(store, metrics=metrics, stored=lambda _: None)
        writer = asyncio.create_task(commit.run())
        end_s = time.monotonic() + LOAD_S

        async def client(number: int) -> None:
            while (started_s := time.monotonic()) < end_s:
                outcome = await commit.append(
                    append_of(data=b"x" * EVENT_BYTES, claims=(f"bench/{number}/{started_s}",))
                )
                assert outcome.status is Status.STORED
                took_s.append(time.monotonic() - started_s)

        started_s = time.monotonic()
        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                clients.create_task(client(number))
        elapsed_s = time.monotonic() - started_s
        writer.cancel()
        await asyncio.wait({writer})
    took_s.sort()
    return Appended(
        per_s=len(took_s) / elapsed_s,
        p50_ms=took_s[len(took_s) // 2] * 1e3,
        p99_ms=took_s[int(len(took_s) * 0.99)] * 1e3,
    )


async def _pgbench(postgres: Postgres) -> float:
    """Inserts per second of 32 pgbench clients, one row a transaction."""
    dsn = await postgres.create_database("bench_raw")
    connection = await asyncpg.connect(dsn)
    await connection.execute(RAW_TABLE)
    await connection.close()
    with TemporaryDirectory() as folder:
        script = Path(folder) / "insert.sql"
        script.write_text(RAW_INSERT.replace("\n", " ").strip() + "\n")
        at = urlsplit(dsn)
        passwords = Path(folder) / "pgpass"
        passwords.touch(mode=0o600)
        passwords.write_text(f"*:*:*:{at.username}:{at.password}\n")
        address = at._replace(netloc=f"{at.username}@{at.hostname}:{at.port}").geturl()
        run = await asyncio.create_subprocess_exec(
            str(program("pgbench")), "--no-vacuum", f"--client={CLIENTS}", "--jobs=1",
            f"--time={LOAD_S:g}", "--protocol=prepared", f"--file={script}", address,
            env={"PGPASSFILE": str(passwords)}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(RUN_TIMEOUT_S):
            output, _ = await run.communicate()
    found = re.search(r"tps = ([0-9.]+) \(without", output.decode())
    if run.returncode != 0 or found is None:
        raise RuntimeError(f"pgbench ended with {run.returncode}: {output.decode()}")
    return float(found.group(1))


async def _eventsourcing(postgres: Postgres, processes: int, pool: int) -> float:
    """Appends per second of 32 threads in one process or several."""
    dsn = await postgres.create_database("bench_eventsourcing")
    task = Task(
        dsn=dsn, threads=CLIENTS // processes, pool=pool, load_s=LOAD_S, event_bytes=EVENT_BYTES
    )
    async with asyncio.timeout(RUN_TIMEOUT_S):
        await _process(replace(task, load_s=0.0))  # makes the table, which two at once cannot
        counts = await asyncio.gather(*(_process(task) for _ in range(processes)))
    return sum(counts) / LOAD_S


async def _process(task: Task) -> int:
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.eventsourcing_appends",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await run.communicate(task.to_json())
    if run.returncode != 0:
        raise RuntimeError(f"the appends by eventsourcing ended with {run.returncode}")
    return int(output)
