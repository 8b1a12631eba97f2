"""The follower against a real gRPC server whose Watch does what the test says."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from catalog import snapshot
from catalog.catalog import Catalog
from catalog.codec import recorded_to_message
from catalog.errors import LogReplaced, UnknownEvent
from catalog.events import RecordedEvent
from catalog.follow import SNAPSHOT_EVENTS_MIN, CatalogFollower
from catalog.saved_catalog import AGE_MAX_S, LastEvent, SnapshotFile
from devstack import free_ports
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2, registry_pb2_grpc
from kernel.errors import TimedOut
from servicekit.identity import ServiceToken
from servicekit.rpc import rpc_channel

from tests.support.event_log import EventLog

WAIT_S = 5.0
SILENCE_MAX_S = 0.1
TOKEN = "a token of this test"

Batch = registry_pb2.WatchBatch


@dataclass
class Call:
    """One Watch call as the server sees it: the test sends batches, then ends or breaks it."""

    after_position: int
    authorization: str
    to_send: asyncio.Queue[Batch | grpc.StatusCode | None] = field(default_factory=asyncio.Queue)

    def send(self, *batches: Batch) -> None:
        for batch in batches:
            self.to_send.put_nowait(batch)

    def fail(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self.to_send.put_nowait(code)

    def end(self) -> None:
        self.to_send.put_nowait(None)


class ScriptedRegistry(registry_pb2_grpc.RegistryServicer):
    """GetHead, ReadCatalog and Watch only; every Watch call is handed to the test."""

    def __init__(self) -> None:
        self.head_position = 0
        self.heads_refused = 0
        self.address = ""
        self.calls: asyncio.Queue[Call] = asyncio.Queue()
        self.catalog_parts: list[bytes | grpc.StatusCode] = [grpc.StatusCode.UNIMPLEMENTED]
        self.folds_asked: list[str] = []
        self.read_catalog: Callable[[Any, Any], AsyncIterator[registry_pb2.CatalogPart]] | None
        self.read_catalog = None

    async def GetHead(self, request: Any, context: Any) -> registry_pb2.Head:  # noqa: N802
        if self.heads_refused:
            self.heads_refused -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return registry_pb2.Head(position=self.head_position)

    async def ReadCatalog(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[registry_pb2.CatalogPart]:
        self.folds_asked.append(request.fold)
        if self.read_catalog is not None:
            async for given in self.read_catalog(request, context):
                yield given
        for part in self.catalog_parts:
            if isinstance(part, grpc.StatusCode):
                await context.abort(part, "as the test says")
            else:
                yield registry_pb2.CatalogPart(data=part)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Batch]:  # noqa: N802
        metadata = dict(context.invocation_metadata())
        call = Call(request.after_position, str(metadata.get("authorization", "")))
        self.calls.put_nowait(call)
        while (what := await call.to_send.get()) is not None:
            if isinstance(what, grpc.StatusCode):
                await context.abort(what, "as the test says")
            else:
                self.head_position = max(self.head_position, what.head_position)
                yield what

    async def call(self) -> Call:
        """The next Watch call."""
        async with asyncio.timeout(WAIT_S):
            return await self.calls.get()


class FakeClock:
    """Seconds that go on when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def log() -> EventLog:
    log = EventLog()
    for number in range(1, 10):
        log.account(f"account{number}")
    return log


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def serve(registry: ScriptedRegistry, address: str) -> grpc.aio.Server:
    """A started server for the registry, which then knows its address."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    registry_pb2_grpc.add_RegistryServicer_to_server(registry, server)
    registry.address = f"127.0.0.1:{server.add_insecure_port(address)}"
    await server.start()
    return server


@pytest_asyncio.fixture
async def registry() -> AsyncIterator[ScriptedRegistry]:
    registry = ScriptedRegistry()  # type: ignore[abstract]
    server = await serve(registry, "127.0.0.1:0")
    yield registry
    await server.stop(None)


@pytest_asyncio.fixture
async def channel(registry: ScriptedRegistry) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(registry.address) as channel:
        yield channel


@asynccontextmanager
async def running(follower: CatalogFollower) -> AsyncIterator[asyncio.Task[None]]:
    """The follower's `run` for as long as the block takes."""
    task = asyncio.create_task(follower.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, LogReplaced, UnknownEvent):
            await task


def following(
    channel: grpc.aio.Channel,
    clock: Callable[[], float],
    *,
    silence_max_s: float = WAIT_S,
) -> CatalogFollower:
    """A follower that reconnects without waiting."""
    return CatalogFollower(
        channel, TOKEN, clock=clock, random=lambda: 0.0, silence_max_s=silence_max_s
    )


def batch(recorded: Iterable[RecordedEvent], *, head: int, start: int | None = None) -> Batch:
    """These events as one batch; from the position before the first unless `start` says another."""
    events = [recorded_to_message(one) for one in recorded]
    return Batch(
        from_position=events[0].position - 1 if start is None else start,
        to_position=events[-1].position,
        head_position=head,
        events=events,
    )


def heartbeat(position: int) -> Batch:
    return Batch(from_position=position, to_position=position, head_position=position)


# ---- the normal way ------------------------------------------------------------------------------


async def test_the_log_is_read_from_its_beginning_and_then_live(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock, log: EventLog
) -> None:
    registry.head_position = 3
    follower = following(channel, clock)
    async with running(follower):
        call = await registry.call()
        assert call.after_position == 0
        call.send(batch(log.recorded[:2], head=3), batch(log.recorded[2:3], head=3), heartbeat(3))
        await follower.wait_for(3, timeout_s=WAIT_S)
        call.send(batch(log.recorded[3:5], head=5))
        await follower.wait_for(5, timeout_s=WAIT_S)
        assert follower.catalog.account_named("account5") is not None
        assert follower.head_position == 5


async def test_every_call_carries_the_bearer_token(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock
) -> None:
    async with running(following(channel, clock)):
        assert (await registry.call()).authorization == f"Bearer {TOKEN}"


async def test_caught_up_is_the_head_that_the_first_connect_saw(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock, log: EventLog
) -> None:
    registry.head_position = 4
    follower = following(channel, clock)
    async with running(follower):
        call = await registry.call()
        call.send(batch(log.recorded[:3], head=9))
        await follower.wait_for(3, timeout_s=WAIT_S)
        assert not follower.caught_up.is_set()
        call.send(batch(log.recorded[3:4], head=9))
        async with asyncio.timeout(WAIT_S):
            await follower.caught_up.wait()
        assert follower.catalog.position == 4


async def test_an_empty_log_is_caught_up_at_once(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock
) -> None:
    follower = following(channel, clock)
    async with running(follower):
        async with asyncio.timeout(WAIT_S):
            await follower.caught_up.wait()


# ---- beginning with a snapshot -------------------------------------------------------------------

FAR = SNAPSHOT_EVENTS_MIN + 1


def log_catalog(log: EventLog, position: int) -> Catalog:
    catalog = Catalog()
    for recorded in log.recorded[:position]:
        catalog.apply(recorded)
    return catalog


def snapshot_at(log: EventLog, position: int) -> list[bytes | grpc.StatusCode]:
    """The two parts of the registry's snapshot at a position."""
    whole = b"".join(snapshot.dump(log_catalog(log, position)))
    return [whole[:100], whole[100:]]


async def test_far_from_the_head_the_catalog_begins_with_the_registrys_snapshot(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock, log: EventLog
) -> None:
    registry.head_position, registry.catalog_parts = FAR, snapshot_at(log, 5)
    follower = following(channel, clock)
    waiting = asyncio.create_task(follower.wait_for(5, timeout_s=WAIT_S))
    async with running(follower):
        call = await registry.call()
        assert call.after_position == 5
        assert registry.folds_asked == [snapshot.FOLD]
        await waiting
        assert await anext(follower.changes()) == 5
        assert follower.staleness_s() == math.inf  # it may be of last week
        assert not follower.caught_up.is_set()
        call.send(batch(log.recorded[5:7], head=FAR))
        await follower.wait_for(7, timeout_s=WAIT_S)
    assert follower.catalog.accounts() == log_catalog(log, 7).accounts()


async def test_a_snapshot_that_reaches_the_head_is_caught_up(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock
) -> None:
    long = EventLog()
    for number in range(FAR):
        long.account(f"account{number}")
    registry.head_position, registry.catalog_parts = FAR, snapshot_at(long, FAR)
    follower = following(channel, clock)
    async with running(follower), asyncio.timeout(WAIT_S):
        await follower.caught_up.wait()
    assert follower.catalog.position == FAR


async def test_a_snapshot_above_the_head_that_was_seen_is_as_good(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock
) -> None:
    long = EventLog()
    for number in range(FAR + 5):
        long.account(f"account{number}")
    registry.head_position, registry.catalog_parts = FAR, snapshot_at(long, FAR + 5)
    follower = following(channel, clock)
    async with running(follower):
        assert (await registry.call()).after_position == FAR + 5
    assert follower.head_position == FAR + 5


async def test_near_the_head_no_snapshot_is_asked_for(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock
) -> None:
    registry.head_position = SNAPSHOT_EVENTS_MIN
    async with running(following(channel, clock)):
        assert (await registry.call()).after_position == 0
    assert registry.folds_asked == []


async def test_a_catalog_that_has_read_something_goes_on_without_a_snapshot(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock, log: EventLog
) -> None:
    registry.head_position = 3
    follower = following(channel, clock)
    async with running(follower):
        first = await registry.call()
        first.send(batch(log.recorded[:3], head=3))
        await follower.wait_for(3, timeout_s=WAIT_S)
        registry.head_position = FAR
        first.fail()
        assert (await registry.call()).after_position == 3
    assert registry.folds_asked == []


@pytest.mark.parametrize("code", [grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE])
@pytest.mark.parametrize("sent", [0, 1], ids=["at once", "in the middle"])
async def test_without_a_snapshot_that_fits_the_log_is_read_from_its_beginning(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    code: grpc.StatusCode,
    sent: int,
) -> None:
    registry.head_position = FAR
    registry.catalog_parts = [*snapshot_at(log, 5)[:sent], code]
    follower = following(channel, clock)
    async with running(follower):
        call = await registry.call()
        assert call.after_position == 0
        call.send(batch(log.recorded[:2], head=FAR))
        await follower.wait_for(2, timeout_s=WAIT_S)


@pytest.mark.parametrize("kept", [0, 1], ids=["nothing", "half of it"])
async def test_a_snapshot_that_is_cut_off_is_never_half_a_catalog(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    kept: int,
) -> None:
    registry.head_position, registry.catalog_parts = FAR, snapshot_at(log, 5)[:kept]
    follower = following(channel, clock)
    async with running(follower):
        assert (await registry.call()).after_position == 0
        assert follower.catalog.position == 0


async def test_a_snapshot_that_does_not_come_is_not_waited_for_for_ever(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("catalog.follow.SNAPSHOT_TIMEOUT_S", SILENCE_MAX_S)
    never = asyncio.Event()

    async def silent(_request: Any, _context: Any) -> AsyncIterator[registry_pb2.CatalogPart]:
        await never.wait()
        yield registry_pb2.CatalogPart()

    registry.read_catalog = silent
    registry.head_position = FAR
    async with running(following(channel, clock)):
        assert (await registry.call()).after_position == 0
    never.set()


async def test_a_registry_that_does_not_end_its_snapshot_is_left(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("catalog.snapshot.SNAPSHOT_BYTES_MAX", 150)
    registry.head_position, registry.catalog_parts = FAR, snapshot_at(log, 5) * 3
    async with running(following(channel, clock)):
        assert (await registry.call()).after_position == 0


# ---- waiting and changes -------------------------------------------------------------------------


async def test_waiting_for_a_position_that_does_not_come_times_out(
    channel: grpc.aio.Channel, clock: FakeClock
) -> None:
    with pytest.raises(TimedOut, match=r"position 7 within 0\.01 s \(it is at 0\)"):
        await following(channel, clock).wait_for(7, timeout_s=0.01)


async def test_waiting_for_what_is_there_already_returns_at_once(
    channel: grpc.aio.Channel, clock: FakeClock
) -> None:
    await following(channel, clock).wait_for(0, timeout_s=0.0)


async def test_all_who_wait_are_told(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock, log: EventLog
) -> None:
    follower = following(channel, clock)
    async with running(follower):
        call = await registry.call()
        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
            for position in (1, 2, 2, 3):
                group.create_task(follower.wait_for(position, timeout_s=WAIT_S))
            for one in log.recorded[:3]:
                call.send(batch([one], head=3))
    assert follower.catalog.position == 3


async def test_a_slow_reader_of_changes_gets_the_newest_position_only(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock, log: EventLog
) -> None:
    follower = following(channel, clock)
    changes = follower.changes()
    async with running(follower), asyncio.timeout(WAIT_S):
        call = await registry.call()
        call.send(batch(log.recorded[:1], head=9))
        assert await anext(changes) == 1
        for one in log.recorded[1:6]:
            call.send(batch([one], head=9))
        await follower.wait_for(6, timeout_s=WAIT_S)
        assert await anext(changes) == 6
        call.send(heartbeat(6), batch(log.recorded[6:7], head=9))
        assert await anext(changes) == 7
    await changes.aclose()


async def test_changes_begin_with_what_the_reader_has_not_seen(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock, log: EventLog
) -> None:
    follower = following(channel, clock)
    async with running(follower), asyncio.timeout(WAIT_S):
        call = await registry.call()
        call.send(batch(log.recorded[:2], head=2))
        await follower.wait_for(2, timeout_s=WAIT_S)
        assert await anext(follower.changes()) == 2
        later = asyncio.create_task(follower.changes(after_position=2).__anext__())
        call.send(batch(log.recorded[2:3], head=3))
        assert await later == 3


# ---- broken connections --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAUTHENTICATED],
)
async def test_a_reconnect_goes_on_where_the_catalog_is(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    code: grpc.StatusCode,
) -> None:
    follower = following(channel, clock)
    async with running(follower):
        first = await registry.call()
        first.send(batch(log.recorded[:3], head=3))
        first.fail(code)
        second = await registry.call()
        assert second.after_position == 3
        second.send(batch(log.recorded[3:4], head=4))
        await follower.wait_for(4, timeout_s=WAIT_S)
    assert len(follower.catalog.accounts()) == 4


async def test_an_ended_stream_is_taken_up_again(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock
) -> None:
    async with running(following(channel, clock)):
        (await registry.call()).end()
        await registry.call()


async def test_a_registry_that_is_killed_and_comes_back_is_found_again(
    clock: FakeClock, log: EventLog
) -> None:
    registry = ScriptedRegistry()  # type: ignore[abstract]
    server = await serve(registry, "127.0.0.1:0")
    options = (("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 50))
    async with grpc.aio.insecure_channel(registry.address, options=options) as channel:
        follower = CatalogFollower(channel, clock=clock, random=lambda: 0.1)
        async with running(follower):
            (await registry.call()).send(batch(log.recorded[:1], head=1))
            await follower.wait_for(1, timeout_s=WAIT_S)
            await server.stop(None)
            server = await serve(registry, registry.address)
            call = await registry.call()
            assert call.after_position == 1
            call.send(batch(log.recorded[1:2], head=2))
            await follower.wait_for(2, timeout_s=WAIT_S)
    await server.stop(None)


async def test_a_head_that_cannot_be_had_is_asked_for_again(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock
) -> None:
    registry.heads_refused = 3
    async with running(following(channel, clock)):
        await registry.call()
    assert registry.heads_refused == 0


async def test_a_channel_that_adds_token_and_trace_by_itself_does_as_well(
    registry: ScriptedRegistry, clock: FakeClock, log: EventLog
) -> None:
    token = ServiceToken("0123456789abcdef0123456789abcdef")
    async with rpc_channel(registry.address, token) as channel:
        follower = CatalogFollower(
            channel, clock=clock, random=lambda: 0.0, silence_max_s=SILENCE_MAX_S
        )
        async with running(follower):
            first = await registry.call()
            assert first.authorization == token.authorization
            first.send(batch(log.recorded[:1], head=1))
            second = await registry.call()  # after the silence
            second.send(batch(log.recorded[1:2], head=2))
            await follower.wait_for(2, timeout_s=WAIT_S)


async def test_a_silent_registry_is_left_and_called_again(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock, log: EventLog
) -> None:
    follower = following(channel, clock, silence_max_s=SILENCE_MAX_S)
    async with running(follower):
        first = await registry.call()
        first.send(batch(log.recorded[:2], head=2))
        second = await registry.call()  # nothing was sent any more, nothing failed
        assert second.after_position == 2


async def test_attempts_that_bring_nothing_back_off_further_and_further(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts: list[int] = []

    def note(attempt: int, **_: object) -> float:
        attempts.append(attempt)
        return 0.0

    monkeypatch.setattr("catalog.follow.delay_s", note)
    async with running(following(channel, clock)):
        for _ in range(3):
            (await registry.call()).fail()
        good = await registry.call()
        good.send(batch(log.recorded[:1], head=1))
        good.fail()
        (await registry.call()).fail()
        await registry.call()
    assert attempts == [1, 2, 3, 1, 2]


# ---- batches that are refused --------------------------------------------------------------------


def gap_before(log: EventLog) -> Batch:
    return batch(log.recorded[3:5], head=9)


def repeat(log: EventLog) -> Batch:
    return batch(log.recorded[1:4], head=9)


def hole_inside(log: EventLog) -> Batch:
    return batch([log.recorded[2], log.recorded[4]], head=9)


def fewer_than_told(log: EventLog) -> Batch:
    told = batch(log.recorded[2:4], head=9)
    told.to_position = 5
    return told


def beyond_the_head(log: EventLog) -> Batch:
    return batch(log.recorded[2:5], head=4)


def wrong_beginning(log: EventLog) -> Batch:
    return batch(log.recorded[2:4], head=9, start=1)


@pytest.mark.parametrize(
    "wrong",
    [gap_before, repeat, hole_inside, fewer_than_told, beyond_the_head, wrong_beginning],
)
async def test_a_batch_that_does_not_follow_is_refused_as_a_whole(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    wrong: Callable[[EventLog], Batch],
) -> None:
    follower = following(channel, clock)
    async with running(follower):
        first = await registry.call()
        first.send(batch(log.recorded[:2], head=9), wrong(log))
        second = await registry.call()
        assert second.after_position == 2
        assert follower.catalog.position == 2
        second.send(batch(log.recorded[2:9], head=9))
        await follower.wait_for(9, timeout_s=WAIT_S)
    assert len(follower.catalog.accounts()) == 9


async def test_a_refused_batch_does_not_make_the_catalog_fresh(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock, log: EventLog
) -> None:
    follower = following(channel, clock)
    async with running(follower):
        first = await registry.call()
        first.send(batch(log.recorded[:2], head=9))
        await follower.wait_for(2, timeout_s=WAIT_S)
        clock.now_s += 60
        first.send(gap_before(log))
        await registry.call()
        assert follower.staleness_s() == 60


# ---- what stops the service ----------------------------------------------------------------------


async def test_a_log_that_is_shorter_than_what_was_read_stops_the_service(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock, log: EventLog
) -> None:
    registry.head_position = 3
    follower = following(channel, clock)
    async with running(follower) as task:
        first = await registry.call()
        first.send(batch(log.recorded[:3], head=3))
        await follower.wait_for(3, timeout_s=WAIT_S)
        registry.head_position = 2
        first.fail()
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(LogReplaced, match="ends at 2, but 3 was already applied"):
                await task


async def test_a_heartbeat_from_a_shorter_log_stops_the_service(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock, log: EventLog
) -> None:
    follower = following(channel, clock)
    async with running(follower) as task:
        (await registry.call()).send(batch(log.recorded[:3], head=3), heartbeat(1))
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(LogReplaced):
                await task


async def test_an_event_of_a_newer_build_stops_the_service_before_it_is_applied(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock, log: EventLog
) -> None:
    follower = following(channel, clock)
    async with running(follower) as task:
        newer = batch(log.recorded[:2], head=2)
        newer.events[1].event.CopyFrom(events_pb2.Event())
        (await registry.call()).send(newer)
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(UnknownEvent, match="upgrade this service"):
                await task
    assert follower.catalog.position == 0


# ---- age -----------------------------------------------------------------------------------------


async def test_before_the_first_batch_the_catalog_is_endlessly_stale(
    channel: grpc.aio.Channel, clock: FakeClock
) -> None:
    assert following(channel, clock).staleness_s() == math.inf


async def test_staleness_grows_with_time_and_ends_with_a_batch_or_a_heartbeat(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock, log: EventLog
) -> None:
    follower = following(channel, clock)
    async with running(follower):
        call = await registry.call()
        call.send(batch(log.recorded[:1], head=1))
        await follower.wait_for(1, timeout_s=WAIT_S)
        assert follower.staleness_s() == 0
        clock.now_s += 7.5
        assert follower.staleness_s() == 7.5
        call.send(heartbeat(1), batch(log.recorded[1:2], head=2))
        await follower.wait_for(2, timeout_s=WAIT_S)
        assert follower.staleness_s() == 0


async def test_a_heartbeat_alone_makes_the_catalog_fresh(
    registry: ScriptedRegistry, channel: grpc.aio.Channel, clock: FakeClock, log: EventLog
) -> None:
    taken = asyncio.Event()

    def watched_clock() -> float:
        taken.set()
        return clock.now_s

    follower = following(channel, watched_clock)
    async with running(follower), asyncio.timeout(WAIT_S):
        call = await registry.call()
        call.send(heartbeat(0))
        await taken.wait()
    assert follower.staleness_s() == 0


# ---- the local snapshot --------------------------------------------------------------------------


def keeping(
    channel: grpc.aio.Channel, clock: Callable[[], float], path: Path, *, silence_max_s: float = 5.0
) -> CatalogFollower:
    """A follower with a local snapshot."""
    return CatalogFollower(
        channel,
        TOKEN,
        clock=clock,
        random=lambda: 0.0,
        silence_max_s=silence_max_s,
        snapshot_file=path,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog"


async def saved(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    path: Path,
    log: EventLog,
) -> None:
    """A process has followed the log up to its fifth event, and was stopped."""
    registry.head_position = 5
    follower = keeping(channel, clock, path)
    async with running(follower):
        (await registry.call()).send(batch(log.recorded[:5], head=5))
        await follower.wait_for(5, timeout_s=WAIT_S)
    assert path.exists()


async def confirmed(registry: ScriptedRegistry, log: EventLog) -> Call:
    """The follower asks for the last event it knows, and goes on after it."""
    asked = await registry.call()
    assert asked.after_position == 4
    asked.send(batch(log.recorded[4:6], head=9))
    return await registry.call()


@asynccontextmanager
async def away() -> AsyncIterator[tuple[grpc.aio.Channel, str]]:
    """A channel to a registry that is not there yet, and where it will be."""
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    options = (("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 50))
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield channel, address


async def test_a_restart_begins_with_the_local_snapshot_once_the_log_is_known_to_be_the_same(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    path: Path,
) -> None:
    await saved(registry, channel, clock, path, log)
    registry.head_position = FAR
    follower = keeping(channel, clock, path)
    async with running(follower):
        call = await confirmed(registry, log)
        assert call.after_position == 5
        assert registry.folds_asked == []
        assert follower.catalog.accounts() == log_catalog(log, 5).accounts()
        call.send(batch(log.recorded[5:7], head=FAR))
        await follower.wait_for(7, timeout_s=WAIT_S)


async def test_while_the_registry_is_away_a_fresh_local_snapshot_is_gone_on_with(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    path: Path,
) -> None:
    await saved(registry, channel, clock, path, log)
    os.utime(path, (time.time() - 100,) * 2)
    async with away() as (unanswered, _):
        follower = keeping(unanswered, clock, path)
        async with running(follower), asyncio.timeout(WAIT_S):
            await follower.caught_up.wait()
            assert follower.catalog.accounts() == log_catalog(log, 5).accounts()
            assert 100 <= follower.staleness_s() < 110


async def test_an_old_local_snapshot_waits_for_the_registry(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await saved(registry, channel, clock, path, log)
    os.utime(path, (time.time() - AGE_MAX_S - 1,) * 2)
    tried = asyncio.Event()

    def note(_attempt: int, **_: object) -> float:
        tried.set()
        return 0.01

    monkeypatch.setattr("catalog.follow.delay_s", note)
    async with away() as (unanswered, address):
        follower = keeping(unanswered, clock, path)
        async with running(follower), asyncio.timeout(WAIT_S):
            await tried.wait()
            assert follower.catalog.position == 0
            assert not follower.caught_up.is_set()
            server = await serve(registry, address)
            assert (await confirmed(registry, log)).after_position == 5
        await server.stop(None)


async def test_a_local_snapshot_of_another_log_is_not_used(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    path: Path,
) -> None:
    await saved(registry, channel, clock, path, log)
    other = EventLog()
    for number in range(1, 10):
        other.account(f"other{number}")
    follower = keeping(channel, clock, path)
    async with running(follower):
        asked = await registry.call()
        assert asked.after_position == 4
        asked.send(batch(other.recorded[4:6], head=9))
        call = await registry.call()
        assert call.after_position == 0
        call.send(batch(other.recorded[:6], head=9))
        await follower.wait_for(6, timeout_s=WAIT_S)
    assert follower.catalog.account_named("account1") is None


async def test_a_local_snapshot_beyond_the_logs_end_is_not_used(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    path: Path,
) -> None:
    await saved(registry, channel, clock, path, log)
    registry.head_position = 3
    async with running(keeping(channel, clock, path)):
        assert (await registry.call()).after_position == 0


async def test_a_local_snapshot_below_the_archive_gives_way_to_the_registrys_snapshot(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    path: Path,
) -> None:
    await saved(registry, channel, clock, path, log)
    registry.head_position = FAR
    registry.catalog_parts = list(snapshot.dump(log_catalog(log, 7)))
    follower = keeping(channel, clock, path)
    async with running(follower):
        asked = await registry.call()
        assert asked.after_position == 4
        asked.fail(grpc.StatusCode.FAILED_PRECONDITION)  # those events were archived
        of_the_snapshot = await registry.call()
        assert of_the_snapshot.after_position == 6
        of_the_snapshot.send(batch(log.recorded[6:8], head=FAR))
        assert (await registry.call()).after_position == 7
        assert follower.catalog.accounts() == log_catalog(log, 7).accounts()


async def test_who_is_behind_the_archive_stops_and_forgets_its_local_snapshot(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    path: Path,
) -> None:
    await saved(registry, channel, clock, path, log)
    async with running(keeping(channel, clock, path)) as task, asyncio.timeout(WAIT_S):
        (await confirmed(registry, log)).fail(grpc.StatusCode.FAILED_PRECONDITION)
        with pytest.raises(LogReplaced, match=r"does not go on after 5.*start this service again"):
            await task
    assert not path.exists()


async def test_who_went_on_alone_and_finds_itself_behind_the_archive_stops(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    path: Path,
) -> None:
    await saved(registry, channel, clock, path, log)
    async with away() as (unanswered, address):
        follower = keeping(unanswered, clock, path)
        async with running(follower) as task, asyncio.timeout(WAIT_S):
            await follower.caught_up.wait()
            server = await serve(registry, address)
            (await registry.call()).fail(grpc.StatusCode.FAILED_PRECONDITION)
            with pytest.raises(LogReplaced, match="does not go on after 5"):
                await task
        await server.stop(None)
    assert not path.exists()


async def test_who_went_on_with_what_is_of_another_log_stops_and_forgets_it(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    path: Path,
) -> None:
    await saved(registry, channel, clock, path, log)
    other = EventLog()
    for number in range(1, 10):
        other.account(f"other{number}")
    async with away() as (unanswered, address):
        follower = keeping(unanswered, clock, path)
        async with running(follower) as task, asyncio.timeout(WAIT_S):
            await follower.caught_up.wait()
            server = await serve(registry, address)
            (await registry.call()).send(batch(other.recorded[4:6], head=9))
            with pytest.raises(LogReplaced, match="another event at 5"):
                await task
        await server.stop(None)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"{}\n", b"\xff" * 5_000, b"half"])
async def test_a_local_snapshot_that_is_no_use_is_passed_over(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    path: Path,
    content: bytes,
) -> None:
    await saved(registry, channel, clock, path, log)
    path.write_bytes(path.read_bytes()[:-1] if content == b"half" else content)
    async with running(keeping(channel, clock, path)):
        assert (await registry.call()).after_position == 0


async def test_a_stop_leaves_one_file_that_only_its_owner_may_read(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    path: Path,
) -> None:
    await saved(registry, channel, clock, path, log)
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_file_that_is_still_true_is_only_made_younger(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    path: Path,
) -> None:
    await saved(registry, channel, clock, path, log)
    os.utime(path, (time.time() - 100,) * 2)
    before = path.stat()
    follower = keeping(channel, clock, path)
    async with running(follower):
        (await confirmed(registry, log)).send(heartbeat(5), heartbeat(5))
        async with asyncio.timeout(WAIT_S):
            while math.isinf(follower.staleness_s()):
                await asyncio.sleep(0)
    after = path.stat()
    assert after.st_ino == before.st_ino
    assert after.st_mtime - before.st_mtime > 90


async def test_a_place_that_cannot_be_written_costs_nothing_but_the_file(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry.head_position = 5
    follower = keeping(channel, clock, tmp_path / "nowhere" / "catalog")
    async with running(follower):
        (await registry.call()).send(batch(log.recorded[:5], head=5))
        await follower.wait_for(5, timeout_s=WAIT_S)
    assert "the local snapshot cannot be written" in caplog.text


async def test_the_file_is_written_while_the_log_is_followed(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("catalog.saved_catalog.WRITE_EVERY_S", 0.01)
    registry.head_position = 5
    follower = keeping(channel, clock, path)
    async with running(follower):
        (await registry.call()).send(batch(log.recorded[:5], head=5))
        async with asyncio.timeout(WAIT_S):
            while not path.exists():
                await asyncio.sleep(0.01)
        kept = SnapshotFile(path).read()
    assert kept is not None
    assert kept.last == LastEvent.of(log.recorded[4])


async def test_a_catalog_that_began_with_the_registrys_snapshot_is_saved_too(
    registry: ScriptedRegistry,
    channel: grpc.aio.Channel,
    clock: FakeClock,
    log: EventLog,
    path: Path,
) -> None:
    registry.head_position, registry.catalog_parts = FAR, snapshot_at(log, 5)
    follower = keeping(channel, clock, path)
    async with running(follower):
        call = await confirmed(registry, log)
        call.send(heartbeat(5))
        async with asyncio.timeout(WAIT_S):
            while math.isinf(follower.staleness_s()):
                await asyncio.sleep(0)
    assert path.exists()
