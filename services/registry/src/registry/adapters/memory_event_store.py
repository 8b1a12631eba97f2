"""The log in memory: same promises, gone with the process. For unit tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from kernel.errors import InvalidInput
from sealedlog import sealing

from registry.ports.event_store import (
    BATCH_BYTES_MAX,
    READ_EVENTS_MAX,
    Append,
    Head,
    Outcome,
    Seal,
    SelectedPage,
    Selection,
    Status,
    StoredCommand,
    StoredEvent,
)

COMMANDS_KEPT_FOR = timedelta(days=7)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MemoryEventStore:
    """`EventStore` in lists and dicts."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._events: list[StoredEvent] = []
        self._seals: list[Seal] = []
        self._streams: dict[str, list[StoredEvent]] = {}
        self._commands: dict[str, tuple[StoredCommand, datetime]] = {}
        self._claims: dict[str, str] = {}
        self._grown = asyncio.Event()

    async def append(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        _check_differ(batch)
        head = await self.head()
        time = max(head.time + timedelta(microseconds=1), self._clock())
        outcomes = [self._append_one(one, time) for one in batch]
        added = self._events[head.position :]
        if added:
            link = sealing.link(
                head.hash, first=head.position + 1, last=len(self._events), time=time,
                digests=[sealing.digest(event) for event in added],
            )  # fmt: skip
            self._seals.append(
                Seal(
                    first_position=head.position + 1,
                    last_position=len(self._events),
                    hash=link,
                    time=time,
                )
            )
            grown, self._grown = self._grown, asyncio.Event()
            grown.set()
        return outcomes

    async def read(
        self,
        after: int,
        *,
        limit: int,
        bytes_max: int = BATCH_BYTES_MAX,
        as_stored: bool = False,
    ) -> Sequence[StoredEvent]:
        page: list[StoredEvent] = []
        size_bytes = 0
        for event in self._events[after : after + min(limit, READ_EVENTS_MAX)]:
            size_bytes += len(event.data) + len(event.metadata)
            if page and size_bytes > bytes_max:
                break
            page.append(event)
        return page

    async def read_selected(
        self,
        after: int,
        *,
        to: int,
        selection: Selection,
        limit: int,
        bytes_max: int = BATCH_BYTES_MAX,
    ) -> SelectedPage:
        page: list[StoredEvent] = []
        size_bytes = 0
        for event in filter(selection.holds, self._events[after:to]):
            size_bytes += len(event.data) + len(event.metadata)
            if page and (size_bytes > bytes_max or len(page) == limit):
                return SelectedPage(covered_position=page[-1].position, events=page)
            page.append(event)
        return SelectedPage(covered_position=to, events=page)

    async def read_stream(
        self, stream_id: str, *, after_version: int = 0, limit: int = READ_EVENTS_MAX
    ) -> Sequence[StoredEvent]:
        return self._streams.get(stream_id, [])[after_version : after_version + limit]

    async def head(self) -> Head:
        if not self._seals:
            return Head(position=0, hash=sealing.GENESIS, time=EPOCH)
        last = self._seals[-1]
        return Head(position=last.last_position, hash=last.hash, time=last.time)

    async def seals(self, after: int, *, limit: int) -> Sequence[Seal]:
        return [seal for seal in self._seals if seal.last_position > after][:limit]

    async def find_command(self, command_id: str) -> StoredCommand | None:
        known = self._commands.get(command_id)
        return known[0] if known else None

    async def prune_commands(self, *, limit: int) -> int:
        before = self._clock() - COMMANDS_KEPT_FOR
        gone = [key for key, (_, time) in self._commands.items() if time < before][:limit]
        for key in gone:
            del self._commands[key]
        return len(gone)

    async def listen(self, *, poll_s: float) -> AsyncIterator[int]:
        while True:
            grown = self._grown
            yield len(self._events)
            with suppress(TimeoutError):
                async with asyncio.timeout(poll_s):
                    await grown.wait()

    def _append_one(self, one: Append, time: datetime) -> Outcome:
        stream = self._streams.get(one.stream_id, [])
        if (known := self._commands.get(one.command_id)) is not None:
            return _repeated(known[0], one)
        if len(stream) != one.expected_version:
            return Outcome(status=Status.VERSION_CONFLICT, version=len(stream))
        if taken := sorted(name for name in one.claims if name in self._claims):
            return Outcome(status=Status.CLAIM_CONFLICT, version=len(stream), claim=taken[0])
        for event in one.events:
            stored = StoredEvent(
                position=len(self._events) + 1,
                stream_id=one.stream_id,
                version=len(stream) + 1,
                name=event.name,
                time=time,
                data=event.data,
                metadata=one.metadata,
            )
            self._events.append(stored)
            stream.append(stored)
        if stream:
            self._streams[one.stream_id] = stream
        for name in one.releases:
            if self._claims.get(name) == one.stream_id:
                del self._claims[name]
        self._claims.update(dict.fromkeys(one.claims, one.stream_id))
        result = StoredCommand(
            request_hash=one.request_hash,
            version=len(stream),
            position=len(self._events),
            event_count=len(one.events),
        )
        self._commands[one.command_id] = result, time
        return replace(_repeated(result, one), status=Status.STORED)


def _repeated(known: StoredCommand, one: Append) -> Outcome:
    if known.request_hash != one.request_hash:
        return Outcome(status=Status.COMMAND_REUSED, version=known.version)
    return Outcome(
        status=Status.REPLAYED,
        version=known.version,
        position=known.position,
        event_count=known.event_count,
    )


def _check_differ(batch: Sequence[Append]) -> None:
    claims = [name for one in batch for name in (*one.claims,)]
    for values in ([one.command_id for one in batch], [one.stream_id for one in batch], claims):
        if len(set(values)) != len(values):
            raise InvalidInput("appending to the log: command ids, streams and claims must differ")
