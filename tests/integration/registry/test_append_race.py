"""Many writers at once: nothing is missed by a reader that follows, nothing is stored twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from uuid import uuid4

from registry.adapters.postgres_event_store import PostgresEventStore
from registry.application.group_commit import GroupCommit
from registry.application.verify import verify
from registry.ports.event_store import EventStore, Outcome, Status

from tests.support.appending import group_commit_over
from tests.support.registry import Database, append_of

PROCESSES = 4
WRITERS = 16
COMMANDS_PER_WRITER = 40
TIMEOUT_S = 60.0


async def test_a_tailing_reader_misses_nothing_of_16_writers(database: Database) -> None:
    shared = [str(uuid4()) for _ in range(8)]
    done = asyncio.Event()
    async with AsyncExitStack() as stack, asyncio.timeout(TIMEOUT_S):
        stores = [
            await stack.enter_async_context(PostgresEventStore(database.log_dsn))
            for _ in range(PROCESSES)
        ]
        processes = [await stack.enter_async_context(group_commit_over(store)) for store in stores]
        reading = asyncio.create_task(_tail(stores[0], done))
        written = await asyncio.gather(
            *(
                _write(processes[number % PROCESSES], random.Random(number), shared)
                for number in range(WRITERS)
            )
        )
        done.set()
        seen = await reading
        report = await verify(stores[0])
    outcomes = [outcome for outcomes in written for outcome in outcomes]
    statuses = Counter(outcome.status for outcome in outcomes)
    assert statuses[Status.VERSION_CONFLICT] > 0, "a storm without conflicts proves little"
    stored = sum(one.event_count for one in outcomes if one.status is Status.STORED)
    assert seen == list(range(1, stored + 1))
    assert (report.problem, report.events) == ("", stored)


async def _write(process: GroupCommit, chance: random.Random, shared: list[str]) -> list[Outcome]:
    """Fresh streams mostly; now and then one that others write too, with a guessed version."""
    outcomes = []
    for _ in range(COMMANDS_PER_WRITER):
        count = chance.randint(1, 3)
        if chance.random() < 0.3:
            item = append_of(
                count, stream_id=chance.choice(shared), expected_version=chance.randint(0, 3)
            )
        else:
            item = append_of(count)
        outcomes.append(await process.append(item))
    return outcomes


async def _tail(store: EventStore, done: asyncio.Event) -> list[int]:
    """Positions as a follower sees them: pages after the last position, again and again."""
    seen: list[int] = []
    while True:
        last_round = done.is_set()
        page = await store.read(seen[-1] if seen else 0, limit=100)
        seen += [event.position for event in page]
        if last_round and not page:
            return seen
