"""`log.appends_per_s`: 32 clients through the group commit, beside raw inserts by pgbench."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
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


async def measure() -> Measurement:
    """Alternate the log and pgbench on one server."""
    postgres = Postgres()
    await postgres.start()
    try:
        values, references, p50_ms, p99_ms = [], [], 0.0, 0.0
        for _ in range(REPETITIONS):
            references.append(await _pgbench(postgres))
            rate, p50_ms, p99_ms = await _appends(postgres)
            values.append(rate)
    finally:
        await postgres.stop()
    return measured(
        "log.appends_per_s",
        values,
        unit="appends/s",
        reference="pgbench, raw inserts",
        reference_values=references,
        packages=["asyncpg", "uvloop"],
        notes={
            "p50 ms (last run)": round(p50_ms, 2),
            "p99 ms (last run)": round(p99_ms, 2),
            "clients": CLIENTS,
            "event bytes": EVENT_BYTES,
        },
    )


async def _appends(postgres: Postgres) -> tuple[float, float, float]:
    """(appends/s, p50 ms, p99 ms) of 32 clients, each on a stream of its own."""
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
    return (
        len(took_s) / elapsed_s,
        took_s[len(took_s) // 2] * 1e3,
        took_s[int(len(took_s) * 0.99)] * 1e3,
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
