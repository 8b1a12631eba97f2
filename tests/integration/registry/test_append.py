"""The way of a command into the log: in batches, alone when it must, and once in any case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import grpc
import grpc.aio
import pytest
from kernel.errors import InvalidInput
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.application import group_commit as group_commit_module
from registry.application.verify import verify
from registry.ports.event_store import (
    BATCH_BYTES_MAX,
    COMMANDS_PER_BATCH_MAX,
    Outcome,
    Seal,
    Status,
)
from servicekit.failures import RETRY_AFTER_METADATA

from tests.support.answer_losing_proxy import answer_losing_proxy
from tests.support.appending import group_commit_over
from tests.support.registry import Database, Served, account_request, append_of

TIMEOUT_S = 30.0


@pytest.fixture
async def store(database: Database) -> AsyncIterator[PostgresEventStore]:
    async with PostgresEventStore(database.log_dsn) as store:
        yield store


@asynccontextmanager
async def _head_locked(database: Database) -> AsyncIterator[None]:
    """Inside, no append gets further than its first statement."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(database.owner_dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM log.head FOR UPDATE")
            yield
    finally:
        await connection.close()


async def test_many_commands_go_in_batches_of_at_most_256(store: PostgresEventStore) -> None:
    commands = 3 * COMMANDS_PER_BATCH_MAX
    async with group_commit_over(store) as group_commit, asyncio.timeout(TIMEOUT_S):
        outcomes = await asyncio.gather(
            *(group_commit.append(append_of(1)) for _ in range(commands))
        )
    assert sorted(one.position for one in outcomes) == list(range(1, commands + 1))
    sizes = [_events_of(seal) for seal in await store.seals(0, limit=commands)]
    assert max(sizes) <= COMMANDS_PER_BATCH_MAX
    assert len(sizes) < commands / 10, "a batch, not a call for each"


async def test_large_commands_go_in_batches_of_at_most_4_mb(store: PostgresEventStore) -> None:
    size_bytes = 500_000
    async with group_commit_over(store) as group_commit, asyncio.timeout(TIMEOUT_S):
        await asyncio.gather(
            *(group_commit.append(append_of(1, data=bytes(size_bytes))) for _ in range(30))
        )
    sizes = [_events_of(seal) for seal in await store.seals(0, limit=30)]
    assert max(sizes) == BATCH_BYTES_MAX // size_bytes
    assert sum(sizes) == 30
    assert not (await verify(store)).problem


BAD = {
    "a text that is no UTF-8": replace(append_of(1), category="\ud800"),
    "a zero byte in a name": append_of(1, claims=("name/\0",)),
    "an id that is none": replace(append_of(1), stream_id="not-a-uuid"),
    "a hash of another length": replace(append_of(1), request_hash=b"short"),
    "a name too long for its index": append_of(
        1, claims=("".join(chr(0x4E00 + number % 20_000) for number in range(7_919 * 3)),)
    ),
    "a version out of range": replace(append_of(1), expected_version=2**31),
}


@pytest.mark.parametrize("why", BAD)
async def test_a_command_that_the_database_cannot_take_fails_alone(
    store: PostgresEventStore, database: Database, why: str
) -> None:
    bad = BAD[why]
    neighbours = [append_of(1) for _ in range(5)]
    batch = [*neighbours[:3], bad, *neighbours[3:]]
    async with group_commit_over(store) as group_commit, asyncio.timeout(TIMEOUT_S):
        async with _head_locked(database):  # so that they all wait, and then go together
            first = asyncio.create_task(group_commit.append(append_of(1)))
            together = asyncio.gather(
                *(group_commit.append(one) for one in batch), return_exceptions=True
            )
            await _calls_that_wait(database, 1)
        results = await together
        assert (await first).status is Status.STORED
    refused = results.pop(3)
    assert isinstance(refused, InvalidInput), refused
    assert {one.status for one in results if isinstance(one, Outcome)} == {Status.STORED}
    assert len([one for one in results if isinstance(one, Outcome)]) == len(neighbours)
    assert (await store.head()).position == len(neighbours) + 1
    assert not (await verify(store)).problem


async def test_an_answer_lost_after_the_commit_is_learnt_by_asking_again(
    database: Database,
) -> None:
    async with (
        answer_losing_proxy(database.log_dsn) as proxy,
        PostgresEventStore(proxy.dsn_through(database.log_dsn)) as store,
        group_commit_over(store) as group_commit,
        asyncio.timeout(TIMEOUT_S),
    ):
        await group_commit.append(append_of(1))  # its statement is prepared from here on
        item = append_of(2, claims=("name/a",))
        proxy.lose_next_answer()
        outcome = await group_commit.append(item)
        assert proxy.answers_lost == 1
        assert (outcome.status, outcome.position, outcome.version) == (Status.REPLAYED, 3, 2)
        assert [event.version for event in await store.read_stream(item.stream_id)] == [1, 2]
        assert (await store.head()).position == 3
        assert not (await verify(store)).problem


async def test_a_command_whose_backend_dies_before_the_commit_is_stored_once(
    store: PostgresEventStore, database: Database
) -> None:
    async with group_commit_over(store) as group_commit, asyncio.timeout(TIMEOUT_S):
        item = append_of(1)
        async with _head_locked(database):
            waiting = asyncio.create_task(group_commit.append(item))
            (backend,) = await _calls_that_wait(database, 1)
            await _terminate(database, backend)
        assert (await waiting).status is Status.STORED
        assert (await group_commit.append(item)).status is Status.REPLAYED
    assert (await store.head()).position == 1


async def test_a_command_id_that_was_used_for_something_else_is_refused(
    store: PostgresEventStore,
) -> None:
    async with group_commit_over(store) as group_commit:
        first = append_of(1)
        await group_commit.append(first)
        other = replace(append_of(1), command_id=first.command_id, request_hash=bytes(32))
        outcomes = await asyncio.gather(
            *(group_commit.append(one) for one in (other, append_of(1), first))
        )
    assert [one.status for one in outcomes] == [
        Status.COMMAND_REUSED, Status.STORED, Status.REPLAYED,
    ]  # fmt: skip


async def test_a_caller_that_leaves_does_not_take_its_command_along(
    store: PostgresEventStore, database: Database
) -> None:
    item = append_of(1)
    async with group_commit_over(store) as group_commit, asyncio.timeout(TIMEOUT_S):
        async with _head_locked(database):
            leaving = asyncio.create_task(group_commit.append(item))
            await _calls_that_wait(database, 1)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
        assert (await group_commit.append(item)).status is Status.REPLAYED


async def test_a_full_queue_says_over_grpc_when_to_come_back(
    registry: Served, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with registry.client() as client, asyncio.timeout(TIMEOUT_S):
        await client.CreateAccount(account_request("before"))  # events go on from here
        async with _head_locked(database):
            under_way = asyncio.create_task(_done(client.CreateAccount(account_request("one"))))
            await _calls_that_wait(database, 1)
            monkeypatch.setattr(group_commit_module, "WAITING_BYTES_MAX", 1)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.CreateAccount(account_request("refused"))
            monkeypatch.undo()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        trailing: Any = caught.value.trailing_metadata()
        assert int(dict(trailing)[RETRY_AFTER_METADATA]) > 0
        await under_way
        await client.CreateAccount(account_request("refused"))  # nothing of it was left behind


@pytest.mark.parametrize("broken", ["events", "ends", "order", "types"])
async def test_arrays_that_do_not_fit_each_other_are_refused_whole(
    database: Database, store: PostgresEventStore, broken: str
) -> None:
    """The database does not trust its caller to number events rightly."""
    one, two = append_of(1), append_of(1)
    arguments: dict[str, list[Any]] = {
        "ends": [1, 2],
        "commands": [1, 2],
        "types": [1, 1],
        "data": [b"1", b"2"],
    }
    broken_ones: dict[str, dict[str, list[Any]]] = {
        "events": {"data": [b"1"]},
        "ends": {"ends": [2, 2]},
        "order": {"commands": [2, 1]},
        "types": {"types": [1, 2]},
    }
    arguments |= broken_ones[broken]
    connection = await asyncpg.connect(database.log_dsn)
    try:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.fetchrow(
                "SELECT log.append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,"
                " '{}', '{}', '{}', '{}')",
                [one.command_id, two.command_id], [bytes(32)] * 2, [one.stream_id, two.stream_id],
                ["account"] * 2, [0, 0], [b""] * 2, arguments["ends"], ["account.created.v1"],
                arguments["commands"], arguments["types"], arguments["data"],
            )  # fmt: skip
        assert caught.value.sqlstate in {"EF005", "23502", "23514"}
    finally:
        await connection.close()
    assert (await store.head()).position == 0
    assert await store.find_command(one.command_id) is None


def _events_of(seal: Seal) -> int:
    return seal.last_position - seal.first_position + 1


async def _done(call: Any) -> None:
    await call


async def _calls_that_wait(database: Database, count: int) -> list[int]:
    """The backends that wait for the head's lock, as soon as there are so many."""
    connection = await asyncpg.connect(database.owner_dsn)
    try:
        while True:
            rows = await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock' AND query LIKE '%append_batch%'"
            )
            if len(rows) >= count:
                return [row["pid"] for row in rows]
    finally:
        await connection.close()


async def _terminate(database: Database, backend: int) -> None:
    connection = await asyncpg.connect(database.owner_dsn)
    try:
        assert await connection.fetchval("SELECT pg_terminate_backend($1, 5000)", backend)
    finally:
        await connection.close()
