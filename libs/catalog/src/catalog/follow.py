"""Keeps a catalog equal to the registry's log: the Watch client.

    connecting ──head known──▶ (snapshot) ──▶ following ──error, gap or silence──▶ backing off
        │    ▲                                    │                                    │
        │    └────────────────────────────────────┼────────────────────────────────────┘
        └──────────────────┬──────────────────────┘
                           ▼
        log replaced, or archived beyond what was read, or an event of a newer build:
                    `run` raises, the service must stop

A batch is checked as a whole before any of it is applied, so the catalog is never between two
positions of a refused batch. Every reconnect goes on after the catalog's own position. A log that
was replaced by another one of the same length or longer is not noticed here: Watch carries no
hashes; `VerifyLog` against an exported head finds it.

A catalog that has read nothing begins with the registry's newest snapshot when the head is far
away; without one that fits (another fold, an old registry, any error) it reads the log from its
beginning. With a local snapshot (`catalog.saved_catalog`) it begins with that, and does so even
while the registry cannot be reached.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random as random_numbers
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2
from eventflows.registry.v1.registry_pb2_grpc import RegistryStub
from kernel.backoff import delay_s
from kernel.errors import TimedOut

from catalog import snapshot
from catalog.catalog import Catalog, CatalogImage
from catalog.codec import recorded_from_message
from catalog.errors import LogReplaced, PositionGap, SnapshotUnusable, UnknownEvent
from catalog.events import RecordedEvent
from catalog.saved_catalog import LastEvent, SavedCatalogs

SILENCE_MAX_S = 5.0
"""The registry sends a batch or a heartbeat every second; after this long it is taken for dead."""
CONNECT_TIMEOUT_S = 5.0
SNAPSHOT_EVENTS_MIN = 1_000
"""A page of the log; with fewer events to read, reading them is as fast as a snapshot."""
SNAPSHOT_TIMEOUT_S = 60.0
BACKOFF_FIRST_S = 0.1
BACKOFF_LONGEST_S = 0.5

_log = logging.getLogger(__name__)


class CatalogFollower:
    """Follows the log on one channel. `run` is called once; everything else at any time.

    `token` is the bearer token of this service; None: the channel adds it by itself. `clock` gives
    seconds that never go back and never stand still, `random` numbers in [0, 1). `snapshot_file` is
    where the catalog is kept over restarts; None: nowhere.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        token: str | None = None,
        *,
        clock: Callable[[], float],
        random: Callable[[], float] = random_numbers.random,
        silence_max_s: float = SILENCE_MAX_S,
        snapshot_file: Path | None = None,
    ) -> None:
        self._registry = RegistryStub(channel)
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        self._clock = clock
        self._random = random
        self._silence_max_s = silence_max_s
        self._last_batch_s = -math.inf
        self._batches = 0
        self._head_position = 0
        self._catch_up_position = 0
        self._changed = asyncio.Event()
        self._saved = SavedCatalogs(snapshot_file, clock=clock)
        self.catalog = Catalog()
        """Only ever changed by `run`."""
        self.caught_up = asyncio.Event()
        """Set for good once the catalog reached the head that the first connect saw, or, while the
        registry cannot be reached, once it began with a local snapshot that is fresh enough."""

    @property
    def head_position(self) -> int:
        """The newest position of the log that this process has heard of."""
        return self._head_position

    def staleness_s(self) -> float:
        """Seconds since the last batch or heartbeat was taken; infinite before the first one.

        A refused batch does not count, so a catalog that cannot go on grows stale. One that began
        with a local snapshot while the registry was away is as stale as that says.
        """
        return self._clock() - self._last_batch_s

    async def wait_for(self, position: int, *, timeout_s: float) -> None:
        """Return once everything up to `position` is applied. Raises TimedOut."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.catalog.position < position:
                    await self._changed.wait()
        except TimeoutError as error:
            raise TimedOut(
                f"the catalog did not reach position {position} within {timeout_s:g} s "
                f"(it is at {self.catalog.position}): read again later"
            ) from error

    async def changes(self, *, after_position: int = 0) -> AsyncGenerator[int, None]:
        """The catalog's position, each time that it is above the one yielded before.

        A slow reader gets the newest position only, so nothing queues up. The first comes at once
        when the catalog is already above `after_position`. Never ends by itself.
        """
        seen = after_position
        while True:
            while self.catalog.position <= seen:
                await self._changed.wait()
            seen = self.catalog.position
            yield seen

    async def run(self) -> None:
        """Follow for ever, over every failure of the connection.

        Raises LogReplaced and UnknownEvent, after which this process must not go on. When it is
        cancelled the local snapshot is written once more.
        """
        async with self._saved.kept(self._state, replaced=LogReplaced):
            await self._follow_for_ever()

    def _state(self) -> tuple[Catalog, float]:
        return self.catalog, self.staleness_s()

    async def _follow_for_ever(self) -> None:
        attempt = 0
        while True:
            batches = self._batches
            try:
                await self._follow()
            except (grpc.aio.AioRpcError, PositionGap, TimeoutError) as error:
                _log.warning("the registry's log cannot be followed now: %s", _words(error))
                if _is_away(error):
                    self._begin_with_saved()
            attempt = 1 if self._batches > batches else attempt + 1
            await asyncio.sleep(
                delay_s(
                    attempt,
                    first_s=BACKOFF_FIRST_S,
                    longest_s=BACKOFF_LONGEST_S,
                    random=self._random,
                )
            )

    async def _follow(self) -> None:
        """One connection, until it fails."""
        head = await self._registry.GetHead(
            registry_pb2.GetHeadRequest(), metadata=self._metadata, timeout=CONNECT_TIMEOUT_S
        )
        await self._compare_saved(head.position)
        self._note_head(head.position)
        self._catch_up_position = self._catch_up_position or head.position
        self._note_caught_up()
        if not self.catalog.position and head.position > SNAPSHOT_EVENTS_MIN:
            await self._begin_with_snapshot()
        call = self._registry.Watch(
            registry_pb2.WatchRequest(after_position=self.catalog.position),
            metadata=self._metadata,
        )
        try:
            while True:
                async with asyncio.timeout(self._silence_max_s):
                    batch = await call.read()
                if not isinstance(batch, registry_pb2.WatchBatch):
                    raise PositionGap("the registry ended the stream")
                self._take(batch)
        except grpc.aio.AioRpcError as error:
            if self.catalog.position and _has_not(error):
                raise self._cannot_go_on(error) from error
            raise
        finally:
            call.cancel()

    async def _begin_with_snapshot(self) -> None:
        """Begin where the registry's newest snapshot stands; on any trouble, at the beginning."""
        call = self._registry.ReadCatalog(
            registry_pb2.ReadCatalogRequest(fold=snapshot.FOLD), metadata=self._metadata
        )
        try:
            async with asyncio.timeout(SNAPSHOT_TIMEOUT_S):
                parts = await _read_parts(call)
                image = await asyncio.to_thread(snapshot.restore_image, parts, for_good=True)
        except (grpc.aio.AioRpcError, SnapshotUnusable, TimeoutError) as error:
            _log.warning("no snapshot to begin with, reading the whole log: %s", _words(error))
            return
        finally:
            call.cancel()
        self._begin(image)
        if self._saved.enabled:
            self._saved.last = await self._event_at(image.position)

    def _begin(self, image: CatalogImage) -> None:
        self.catalog.begin_with(image)
        self._head_position = max(self._head_position, image.position)
        self._tell_changed()
        self._note_caught_up()

    def _begin_with_saved(self) -> None:
        """The registry is away: go on with what was saved, if that is fresh enough."""
        saved = self._saved.fresh()
        if saved is None or self.catalog.position:
            return
        _log.warning("going on with the local snapshot at position %d", saved.image.position)
        self._last_batch_s = self._clock() - self._saved.age_s(saved)
        self._begin(saved.image)
        self.caught_up.set()

    async def _compare_saved(self, head_position: int) -> None:
        """The registry is there: is what was saved of its log? Only then begin with it."""
        saved = self._saved.unconfirmed
        if saved is None:
            return
        position = saved.last.position
        try:
            same = position <= head_position and await self._event_at(position) == saved.last
        except grpc.aio.AioRpcError as error:
            if not _has_not(error):
                raise
            if self.catalog.position:
                raise self._cannot_go_on(error) from error
            self._saved.unconfirmed = None
            _log.warning("the local snapshot is not used, the log begins later: %s", _words(error))
            return
        if not same and self.catalog.position:
            raise LogReplaced(
                f"the registry's log has another event at {saved.last.position} than the one that "
                "was already applied: the log was replaced; make sure that the right database is "
                "used, then start this service again"
            )
        self._saved.unconfirmed = None
        if not same:
            _log.warning("the local snapshot is of another log: it is not used")
        elif not self.catalog.position:
            self._begin(saved.image)

    def _cannot_go_on(self, error: grpc.aio.AioRpcError) -> LogReplaced:
        return LogReplaced(
            f"the registry's log does not go on after {self.catalog.position}, which was already "
            f"applied ({error.details()}): start this service again, it begins with the registry's "
            "newest snapshot"
        )

    async def _event_at(self, position: int) -> LastEvent:
        """The event that the registry's log has there."""
        call = self._registry.Watch(
            registry_pb2.WatchRequest(after_position=position - 1), metadata=self._metadata
        )
        try:
            async with asyncio.timeout(self._silence_max_s):
                batch = await call.read()
        finally:
            call.cancel()
        if not isinstance(batch, registry_pb2.WatchBatch) or not batch.events:
            raise PositionGap("the registry ended the stream")
        (found,) = _decoded(batch.events[:1])
        return LastEvent.of(found)

    def _take(self, batch: registry_pb2.WatchBatch) -> None:
        """Apply one batch, wholly or not at all."""
        self._note_head(batch.head_position)
        recorded = _checked(batch, position=self.catalog.position)
        for one in recorded:
            self.catalog.apply(one)
        self._last_batch_s = self._clock()
        self._batches += 1
        if recorded:
            self._saved.last = LastEvent.of(recorded[-1])
            self._tell_changed()
        self._note_caught_up()

    def _tell_changed(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _note_head(self, head_position: int) -> None:
        position = self.catalog.position
        if head_position < position:
            raise LogReplaced(
                f"the registry's log ends at {head_position}, but {position} was already applied: "
                "the log was replaced; make sure that the right database is used, then start this "
                "service again"
            )
        self._head_position = max(self._head_position, head_position)

    def _note_caught_up(self) -> None:
        if self.catalog.position >= self._catch_up_position:
            self.caught_up.set()


async def _read_parts(call: grpc.aio.UnaryStreamCall[Any, registry_pb2.CatalogPart]) -> list[bytes]:
    """All parts. Raises SnapshotUnusable when they are more than any snapshot has."""
    parts, size_bytes = [], 0
    while isinstance(part := await call.read(), registry_pb2.CatalogPart):
        size_bytes += len(part.data)
        if size_bytes > snapshot.SNAPSHOT_BYTES_MAX:
            raise SnapshotUnusable("the registry's snapshot does not end: replay the log")
        parts.append(part.data)
    return parts


def _checked(batch: registry_pb2.WatchBatch, *, position: int) -> list[RecordedEvent]:
    """The batch's events. Raises PositionGap unless they are exactly those after `position`."""
    positions = [event.position for event in batch.events]
    dense = positions == list(range(batch.from_position + 1, batch.to_position + 1))
    if batch.from_position != position or not dense or batch.to_position > batch.head_position:
        raise PositionGap(
            f"a batch from {batch.from_position} to {batch.to_position} (head "
            f"{batch.head_position}) with {len(positions)} events cannot follow {position}"
        )
    return _decoded(batch.events)


def _decoded(messages: Sequence[events_pb2.RecordedEvent]) -> list[RecordedEvent]:
    try:
        return [recorded_from_message(event) for event in messages]
    except ValueError as error:
        raise UnknownEvent(
            f"the log holds something between {messages[0].position} and {messages[-1].position} "
            f"that this build does not know ({error}): upgrade this service"
        ) from error


def _has_not(error: grpc.aio.AioRpcError) -> bool:
    """Does the log not hold what a Watch asked for: archived, or beyond its end?"""
    return error.code() is grpc.StatusCode.FAILED_PRECONDITION


def _is_away(error: Exception) -> bool:
    return isinstance(error, TimeoutError) or (
        isinstance(error, grpc.aio.AioRpcError)
        and error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    )


def _words(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    if isinstance(error, TimeoutError):
        return "it is silent"
    return str(error)
