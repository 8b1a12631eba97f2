"""`VerifyLog` over real rows: every change by a superuser is found and located, from any seal."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any
from uuid import UUID

import grpc
import grpc.aio
import pytest
from eventflows.registry.v1 import registry_pb2 as pb
from prometheus_client import CollectorRegistry
from registry.adapters.postgres_archive import PostgresLogParts
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_pool import PostgresPool
from registry.application import verify as module
from registry.application.log_head import LogHead
from registry.application.metrics import RegistryMetrics
from registry.application.partitions import LogWitness
from registry.application.verify import verify, verifying
from registry.ports.archive import LogParts, Room
from sealedlog.verification import ChainPoint
from servicekit.logs import configure_logs

from tests.support.exports import account_append, connected, tamper
from tests.support.registry import Database, Served, append_of

if TYPE_CHECKING:
    from eventflows.registry.v1.registry_pb2_grpc import RegistryAsyncStub


async def fill(database: Database, batches: int = 4, events: int = 3) -> list[ChainPoint]:
    """Batches of so many events; the ends of each."""
    async with PostgresEventStore(database.log_dsn) as store:
        for _ in range(batches):
            await store.append([append_of(events)])
        return [
            ChainPoint(position=seal.last_position, hash=seal.hash)
            for seal in await store.seals(0, limit=100)
        ]


async def fill_with_accounts(database: Database, batches: int = 4) -> list[ChainPoint]:
    """The same, of events that a running registry understands."""
    async with PostgresEventStore(database.log_dsn) as store:
        for _ in range(batches):
            await store.append([account_append(), account_append(), account_append()])
        return [
            ChainPoint(position=seal.last_position, hash=seal.hash)
            for seal in await store.seals(0, limit=100)
        ]


async def progress_of(client: RegistryAsyncStub, **request: Any) -> list[pb.VerifyLogProgress]:
    return [one async for one in client.VerifyLog(pb.VerifyLogRequest(**request))]


async def problem(database: Database, expected: ChainPoint | None = None) -> str:
    async with PostgresEventStore(database.log_dsn) as store:
        return (await verify(store, expected=expected)).problem


EVENT_7 = (
    "INSERT INTO log.events SELECT 7, gen_random_uuid(), 1, type, time, data, metadata "
    "FROM log.events WHERE position = 6"
)
TAMPERINGS: dict[str, tuple[list[str], str]] = {
    "one byte of the data": (
        ["UPDATE log.events SET data = set_byte(data, 0, 1) WHERE position = 5"],
        "events 4 to 6 are not those that were sealed",
    ),
    "one byte of the metadata": (
        ["UPDATE log.events SET metadata = metadata || '\\x00'::bytea WHERE position = 5"],
        "events 4 to 6 are not those that were sealed",
    ),
    "an event removed": (["DELETE FROM log.events WHERE position = 5"], "event 5 is missing"),
    "an event removed and the others moved up": (
        [
            "DELETE FROM log.events WHERE position = 5",
            "UPDATE log.events SET position = 5 WHERE position = 6",
        ],
        "event 5 has version 3",
    ),
    "two events changing places": (
        [
            "UPDATE log.events SET position = 0 WHERE position = -1",
            "ALTER TABLE log.events DROP CONSTRAINT events_pkey",
            "UPDATE log.events SET position = 11 - position WHERE position IN (5, 6)",
        ],
        "has version 3 of its stream, not 2",
    ),
    "an event twice": (
        [
            "ALTER TABLE log.events DROP CONSTRAINT events_pkey",
            "DROP INDEX log.events_from_000000000000001_by_stream",
            "INSERT INTO log.events SELECT * FROM log.events WHERE position = 5",
        ],
        "event 5 is there twice",
    ),
    "an event put behind the head": (
        ["INSERT INTO log.events SELECT 13, gen_random_uuid(), 1, type, time, data, metadata "
         "FROM log.events WHERE position = 12"],
        "event 13 stands behind the head",
    ),
    "an event dated anew": (
        ["UPDATE log.events SET time = time + interval '1 us' WHERE position = 5"],
        "event 5 has another time than its seal",
    ),
    "a batch dated anew": (
        [
            "UPDATE log.events SET time = time + interval '1 us' WHERE position BETWEEN 4 AND 6",
            "UPDATE log.seals SET time = time + interval '1 us' WHERE last_position = 6",
        ],
        "events 4 to 6 are not those that were sealed",
    ),
    "a batch dated before the one before it": (
        [
            "UPDATE log.events SET time = 'epoch' WHERE position BETWEEN 4 AND 6",
            "UPDATE log.seals SET time = 'epoch' WHERE last_position = 6",
        ],
        "the seal of events 4 to 6 is not later",
    ),
    "a batch removed": (
        [
            "DELETE FROM log.events WHERE position BETWEEN 4 AND 6",
            "DELETE FROM log.seals WHERE last_position = 6",
        ],
        "the seal of events 7 to 9 does not follow event 3",
    ),
    "a kind that is gone": (["DELETE FROM log.event_types"], "events 1 to 3 are not those"),
    "a seal behind the head": (
        ["INSERT INTO log.seals VALUES (13, 13, sha256('x'), now() + interval '1 hour')"],
        "a seal stands behind the head",
    ),
}  # fmt: skip


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_what_a_superuser_changes_is_found_in_its_batch(
    database: Database, tampering: str
) -> None:
    statements, place = TAMPERINGS[tampering]
    await fill(database)
    assert not await problem(database)
    await tamper(database.owner_dsn, *statements)
    assert place in await problem(database)


async def test_a_log_whose_end_was_cut_off_is_found_by_a_head_kept_elsewhere(
    database: Database,
) -> None:
    points = await fill(database)
    cut = points[1]
    await tamper(
        database.owner_dsn,
        f"DELETE FROM log.events WHERE position > {cut.position}",
        f"DELETE FROM log.seals WHERE last_position > {cut.position}",
        f"UPDATE log.head h SET position = s.last_position, hash = s.hash, time = s.time "
        f"FROM log.seals s WHERE s.last_position = {cut.position}",
    )
    assert not await problem(database), "by itself it looks intact"
    assert "its end was cut off" in await problem(database, points[-1])
    assert not await problem(database, points[0])


async def test_a_chain_that_was_rewritten_whole_is_found_by_a_head_kept_elsewhere(
    database: Database,
) -> None:
    points = await fill(database)
    await tamper(
        database.owner_dsn,
        "UPDATE log.events SET data = 'another history' WHERE position = 5",
        "DO $$ DECLARE h bytea := decode(repeat('00', 32), 'hex'); s record; d bytea; BEGIN "
        "FOR s IN SELECT * FROM log.seals ORDER BY last_position LOOP "
        "SELECT string_agg(log.event_digest(e.position, e.stream_id, e.version, e.time, t.name, "
        "e.data, e.metadata), ''::bytea ORDER BY e.position) INTO d FROM log.events e "
        "JOIN log.event_types t ON t.id = e.type "
        "WHERE e.position BETWEEN s.first_position AND s.last_position; "
        "h := sha256(h || int8send(s.first_position) || int8send(s.last_position) "
        "|| int8send(log.microseconds(s.time)) || d); "
        "UPDATE log.seals SET hash = h WHERE last_position = s.last_position; END LOOP; "
        "UPDATE log.head SET hash = h; END $$",
    )
    assert not await problem(database), "by itself it looks intact"
    assert "was rewritten" in await problem(database, points[-1])
    assert "was rewritten" in await problem(database, points[1])
    assert not await problem(database, points[0]), "what lies before was not touched"


async def test_a_verification_goes_on_from_any_seal(database: Database, registry: Served) -> None:
    points = await fill_with_accounts(database)
    async with registry.client("operator") as client:
        (last,) = await progress_of(
            client,
            after_position=points[1].position,
            after_hash=points[1].hash,
            expected_position=points[-1].position,
            expected_hash=points[-1].hash,
        )
        assert (last.done, last.intact, last.events, last.seals) == (True, True, 6, 2)
        assert (last.head_position, last.head_hash) == (points[-1].position, points[-1].hash)
        assert last.after_position == points[1].position
        (last,) = await progress_of(client, after_position=points[1].position, after_hash=bytes(32))
        assert (last.intact, "was rewritten" in last.problem) == (False, True)
        (last,) = await progress_of(client, after_position=99, after_hash=points[1].hash)
        assert "its end was cut off" in last.problem
        (last,) = await progress_of(
            client, after_position=points[-1].position, after_hash=points[-1].hash
        )
        assert (last.intact, last.events) == (True, 0)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"after_position": 5, "after_hash": bytes(32)}, "not the end of a batch"),
        ({"after_position": -1, "after_hash": bytes(32)}, "0 or more"),
        ({"after_position": 3}, "32 bytes"),
        ({"after_hash": bytes(32)}, "needs the after_position"),
        ({"expected_position": 3, "expected_hash": b"x"}, "32 bytes"),
        ({"expected_hash": b"x"}, "32 bytes"),
    ],
)
async def test_a_point_that_cannot_be_is_refused(
    database: Database, registry: Served, request_: dict[str, Any], words: str
) -> None:
    await fill_with_accounts(database)
    async with registry.client("operator") as client:
        with pytest.raises(grpc.aio.AioRpcError, match=words) as caught:
            await progress_of(client, **request_)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_long_verification_says_where_it_is(
    database: Database, registry: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill_with_accounts(database, batches=6)
    monkeypatch.setattr(module, "PROGRESS_EVENTS", 6)
    async with registry.client("operator") as client:
        told = await progress_of(client)
    assert [one.events for one in told] == [6, 12, 18, 18]
    assert [one.done for one in told] == [False, False, False, True]
    assert not any(one.intact for one in told[:-1]), "nothing is intact before the end"


async def test_what_is_appended_meanwhile_is_no_problem(database: Database) -> None:
    await fill(database)
    async with PostgresEventStore(database.log_dsn) as store:
        reports = verifying(store)
        original = store.head
        heads = 0

        async def head() -> Any:
            nonlocal heads
            heads += 1
            found = await original()
            if heads == 1:
                await store.append([append_of(2)])
            return found

        store.head = head  # type: ignore[method-assign]
        *_, last = [report async for report in reports]
    assert (last.problem, last.head.position) == ("", 12)


async def test_a_recomputation_of_our_own_comes_to_the_same_chain(database: Database) -> None:
    points = await fill(database)
    async with connected(database.owner_dsn) as connection:
        events = await connection.fetch(
            "SELECT e.*, t.name FROM log.events e JOIN log.event_types t ON t.id = e.type "
            "ORDER BY e.position"
        )
        seals = await connection.fetch("SELECT * FROM log.seals ORDER BY last_position")
    chain = bytes(32)
    for seal in seals:
        moment = int(seal["time"].timestamp() * 1_000_000).to_bytes(8)
        text = chain + seal["first_position"].to_bytes(8) + seal["last_position"].to_bytes(8)
        text += moment
        for event in events[seal["first_position"] - 1 : seal["last_position"]]:
            name = event["name"].encode()
            text += hashlib.sha256(
                event["position"].to_bytes(8) + UUID(str(event["stream_id"])).bytes
                + event["version"].to_bytes(4) + moment
                + len(name).to_bytes(4) + name
                + len(event["data"]).to_bytes(4) + event["data"]
                + len(event["metadata"]).to_bytes(4) + event["metadata"]
            ).digest()  # fmt: skip
        chain = hashlib.sha256(text).digest()
        assert chain == seal["hash"]
    assert chain == points[-1].hash


async def test_the_head_is_logged_at_the_start_as_the_log_grows_and_at_the_end(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="registry.application.partitions")
    _, second = await fill(database, batches=2)
    metrics = RegistryMetrics(CollectorRegistry())
    async with PostgresEventStore(database.log_dsn) as store:
        head = LogHead(metrics=metrics)
        witness = LogWitness(
            store=store, parts=_Parts(Room(head_position=0, covered_to=9, partition_size=9)),
            head=head, metrics=metrics, every_s=60.0, every_events=5,
        )  # fmt: skip
        head.advance(second.position)
        running = asyncio.create_task(witness.run())
        async with asyncio.timeout(10):
            await _noted(caplog, second)
            await store.append([append_of(6)])
            end = await store.head()
            head.advance(end.position)
            await _noted(caplog, ChainPoint(position=end.position, hash=end.hash))
            caplog.clear()
            head.close()
            await running
            await witness.at_stop()
        await _noted(caplog, ChainPoint(position=end.position, hash=end.hash))


async def test_the_registry_alarms_when_the_log_has_too_little_room(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    collector = CollectorRegistry()
    metrics = RegistryMetrics(collector)
    async with PostgresEventStore(database.log_dsn) as store:
        await store.append([append_of(1)])
        async with PostgresPool(database.log_dsn) as pool:
            witness = LogWitness(
                store=store, parts=PostgresLogParts(pool), head=LogHead(metrics=metrics),
                metrics=metrics,
            )  # fmt: skip
            assert await witness.look_at_room()
            assert collector.get_sample_value("registry_partition_room_events") == 1_999_999
            assert "the next one is not there" not in caplog.text
            await tamper(database.owner_dsn, "UPDATE log.head SET covered_to = 400000")
            assert not await witness.look_at_room()
            assert collector.get_sample_value("registry_partition_room_events") == 399_999
            assert "the next one is not there" in caplog.text


class _Parts:
    """`LogParts` that says what it is told."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def room(self) -> Room:
        return self._room

    async def archived(self) -> None:
        return None

    async def state_of(self, stream_id: str) -> None:
        return None


_is_log_parts: type[LogParts] = _Parts


async def _noted(caplog: pytest.LogCaptureFixture, point: ChainPoint) -> None:
    """Return when the head was logged."""
    while not any(
        getattr(record, "position", None) == point.position
        and getattr(record, "hash", None) == point.hash.hex()
        for record in caplog.records
    ):
        await asyncio.sleep(0)


def test_a_line_of_the_log_has_all_that_a_verification_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs(service="registry", level="info")
    logging.getLogger("registry.application.partitions").info(
        "head of the log", extra={"position": 7, "hash": "ab" * 32}
    )
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (line["message"], line["position"], line["hash"]) == ("head of the log", 7, "ab" * 32)
