"""`log.watch_delay`: from the answer of an append to a watcher's hands, 200 events/s, over gRPC.

The reference is the least that any design on PostgreSQL does: `log.append` called with the driver,
LISTEN on another connection of the same process, and the page read by position. No gRPC on either
way. A delay below 0 means: in the watcher's hands before the ack was in the writer's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
from devstack import Postgres
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows.registry.v1.registry_pb2_grpc import RegistryStub
from registry.adapters.postgres_event_store import PostgresEventStore

from tests.bench.cores import cpu_s
from tests.bench.measurement import Measurement, measured
from tests.support.registry import Database, account_request, append_of, fresh_database
from tests.support.registry_process import RegistryProcess, registry_process

EVENTS_PER_S = 200
EVENTS = 2_000
REPETITIONS = 3
WARM_UP_EVENTS = 200
EVENT_BYTES = 152  # a listener's update, as protobuf
CROWD = 200
CROWD_EVENTS = 1_000
RUN_TIMEOUT_S = 300.0
PAGE = """
SELECT position, stream_id, version, type, time, data, metadata FROM log.events
WHERE position > $1 ORDER BY position LIMIT 1000
"""

Append = Callable[[int], Awaitable[int]]
"""Appends one event, by its number; its position."""


class Arrivals:
    """When each position came, by one clock: that of this process."""

    def __init__(self) -> None:
        self.seen_s: dict[int, float] = {}
        self._grown = asyncio.Event()

    def up_to(self, position: int) -> None:
        """Everything up to here is in hand now."""
        now_s = time.monotonic()
        for one in range(len(self.seen_s) + 1, position + 1):
            self.seen_s[one] = now_s
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def reach(self, position: int) -> None:
        async with asyncio.timeout(RUN_TIMEOUT_S):
            while len(self.seen_s) < position:
                await self._grown.wait()


async def measure() -> Measurement:
    """Medians of the runs' medians; the 99th percentiles in the notes."""
    postgres = Postgres()
    await postgres.start()
    try:
        ours, theirs = [], []
        for _ in range(REPETITIONS):
            theirs.append(await _bare(await fresh_database(postgres)))
            ours.append(await _served(await fresh_database(postgres)))
        crowd = await _crowd(await fresh_database(postgres))
    finally:
        await postgres.stop()
    return measured(
        "log.watch_delay",
        [_percentile(one, 0.5) for one in ours],
        unit="ms after the ack, p50",
        reference="asyncpg alone: append, LISTEN, page",
        reference_values=[_percentile(one, 0.5) for one in theirs],
        packages=["asyncpg", "grpcio", "uvloop"],
        notes={
            "p99 ms, each run": ", ".join(f"{_percentile(one, 0.99):.2f}" for one in ours),
            "reference p99 ms": ", ".join(f"{_percentile(one, 0.99):.2f}" for one in theirs),
            "events/s": EVENTS_PER_S,
            **crowd,
        },
    )


async def _served(database: Database) -> list[float]:
    """Delays in ms through a registry process, sorted."""
    with TemporaryDirectory() as folder:
        async with registry_process(database, Path(folder)) as registry:
            async with registry.channel() as channel:
                stub = RegistryStub(channel)

                async def append(number: int) -> int:
                    answer = await stub.CreateAccount(account_request(f"user{number}"))
                    return answer.position

                arrivals = Arrivals()
                reading = asyncio.create_task(_watch(registry, arrivals))
                return await _delays_ms(append, [arrivals], [reading], EVENTS)


async def _bare(database: Database) -> list[float]:
    """Delays in ms with nothing but the driver, sorted."""
    async with PostgresEventStore(database.log_dsn) as store:
        writing = asyncio.Lock()

        async def append(_number: int) -> int:
            async with writing:
                (outcome,) = await store.append([append_of(1, data=b"x" * EVENT_BYTES)])
            return outcome.position

        arrivals = Arrivals()
        reading = asyncio.create_task(_listen(database, arrivals))
        return await _delays_ms(append, [arrivals], [reading], EVENTS)


async def _delays_ms(
    append: Append, crowd: Sequence[Arrivals], readers: Sequence[asyncio.Task[None]], events: int
) -> list[float]:
    """After a warm-up, of all readers, sorted. The readers are ended."""
    try:
        await _append(append, WARM_UP_EVENTS)
        for arrivals in crowd:
            await arrivals.reach(WARM_UP_EVENTS)
        acks_s = await _append(append, events, first=WARM_UP_EVENTS)
        for arrivals in crowd:
            await arrivals.reach(WARM_UP_EVENTS + events)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
    return sorted(
        (arrivals.seen_s[position] - acked_s) * 1e3
        for arrivals in crowd
        for position, acked_s in acks_s.items()
    )


async def _append(append: Append, events: int, *, first: int = 0) -> dict[int, float]:
    """One each 5 ms, whatever the answers take; when each position was answered."""
    acks_s: dict[int, float] = {}

    async def one(number: int) -> None:
        acks_s[await append(number)] = time.monotonic()

    started_s = time.monotonic()
    async with asyncio.timeout(RUN_TIMEOUT_S), asyncio.TaskGroup() as calls:
        for number in range(events):
            await asyncio.sleep(started_s + number / EVENTS_PER_S - time.monotonic())
            calls.create_task(one(first + number))
    return acks_s


async def _watch(registry: RegistryProcess, arrivals: Arrivals) -> None:
    async with registry.channel("router") as channel:
        async for batch in RegistryStub(channel).Watch(pb.WatchRequest()):
            arrivals.up_to(batch.to_position)


async def _listen(database: Database, arrivals: Arrivals) -> None:
    connection = await asyncpg.connect(database.log_dsn, server_settings={"jit": "off"})
    woken = asyncio.Event()
    await connection.add_listener("eventflows_log", lambda *_: woken.set())
    page = await connection.prepare(PAGE)
    position = 0
    try:
        while True:
            woken.clear()
            while rows := await page.fetch(position):
                position = rows[-1]["position"]
                arrivals.up_to(position)
            await woken.wait()
    finally:
        connection.terminate()


async def _crowd(database: Database) -> dict[str, float | str]:
    """200 watchers of one process: their delays, over all events and watchers, and its CPU.

    The watchers share a core or two with the registry here, so their own work is in the figures.
    """
    with TemporaryDirectory() as folder:
        async with registry_process(database, Path(folder)) as registry:
            assert registry.process is not None
            async with registry.channel() as channel:
                stub = RegistryStub(channel)

                async def append(number: int) -> int:
                    answer = await stub.CreateAccount(account_request(f"user{number}"))
                    return answer.position

                crowd = [Arrivals() for _ in range(CROWD)]
                watching = [asyncio.create_task(_watch(registry, one)) for one in crowd]
                used_s, started_s = cpu_s(registry.process.pid), time.monotonic()
                delays_ms = await _delays_ms(append, crowd, watching, CROWD_EVENTS)
                took_s = time.monotonic() - started_s
                used_s = cpu_s(registry.process.pid) - used_s
    return {
        f"{CROWD} watchers, p50 ms": round(_percentile(delays_ms, 0.5), 2),
        f"{CROWD} watchers, p99 ms": round(_percentile(delays_ms, 0.99), 2),
        f"{CROWD} watchers, registry's cores": round(used_s / took_s, 2),
    }


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
