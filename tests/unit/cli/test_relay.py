"""The relay between a log and topics that are lists: what it retries, how it cuts, what ends it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest
from aiokafka import ConsumerRecord
from catalog import codec
from catalog.catalog import Catalog
from catalog.events import AccountCreated, AccountKind, Metadata, RecordedEvent
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows_cli.relay import relay as relay_module
from eventflows_cli.relay.kafka_log import KafkaLog
from eventflows_cli.relay.records import Record
from eventflows_cli.relay.relay import BATCH_EVENTS_MAX, Relay
from kernel.errors import EventflowsError, Overloaded, StateForbids, Unavailable

from tests.unit.cli.test_relay_records import TIME


def account_created(position: int, *, fullname: str = "") -> events_pb2.RecordedEvent:
    stream = f"11111111-2222-4333-8444-{position:012}"
    event = AccountCreated(
        account_id=stream,
        kind=AccountKind.USER,
        username=f"user{position}",
        email=f"user{position}@example.test",
        fullname=fullname,
    )
    return codec.recorded_to_message(
        RecordedEvent(
            position=position,
            stream_id=stream,
            version=1,
            time=TIME,
            metadata=Metadata(actor="service:operator", command_id=stream),
            event=event,
        )
    )


class ListedLog:
    """`relay.Log` over a list; each of `failures` is raised once, before any batch."""

    def __init__(
        self, events: Sequence[events_pb2.RecordedEvent], *failures: EventflowsError
    ) -> None:
        self._events = events
        self._failures = list(failures)

    async def catalog_at(self, position: int) -> Catalog:
        catalog = Catalog()
        for message in self._events[:position]:
            catalog.apply(codec.recorded_from_message(message))
        return catalog

    async def event(self, position: int) -> events_pb2.RecordedEvent | None:
        return self._events[position - 1] if position <= len(self._events) else None

    async def batches(self, after: int) -> AsyncGenerator[pb.WatchBatch, None]:
        if self._failures:
            raise self._failures.pop(0)
        yield pb.WatchBatch(
            events=self._events[after:],
            from_position=after,
            to_position=len(self._events),
            head_position=len(self._events),
        )


class ListedTopics:
    """What of `KafkaLog` the relay uses, with lists in place of topics."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[Record], list[Record]]] = []
        self.failures: list[EventflowsError] = []
        self.written_all_the_same = False

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[KafkaLog]:
        yield cast("KafkaLog", self)

    async def last(self) -> ConsumerRecord[bytes, bytes] | None:
        if not self.batches:
            return None
        record = self.batches[-1][0][-1]
        return ConsumerRecord(
            topic="log", partition=0, offset=0, timestamp=0, timestamp_type=0, key=record.key,
            value=record.value, checksum=None, serialized_key_size=0, serialized_value_size=0,
            headers=record.headers,
        )  # fmt: skip

    async def write(self, full: Sequence[Record], states: Sequence[Record]) -> None:
        if not self.failures or self.written_all_the_same:
            self.batches.append((list(full), list(states)))
        if self.failures:
            raise self.failures.pop(0)

    @property
    def positions(self) -> list[int]:
        return [
            int(dict(record.headers)["ce_position"]) for full, _ in self.batches for record in full
        ]


class Heard:
    """A relay up to the head, and what it said."""

    def __init__(self, log: ListedLog, topics: ListedTopics) -> None:
        self.sentences: list[str] = []
        self.relay = Relay(
            log,
            topics.entered,
            source="/acme",
            until_head=True,
            progress=lambda _position, _head: None,
            say=self.sentences.append,
        )


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr(relay_module, "BACKOFF_LONGEST_S", 0.001)


async def test_a_registry_that_is_away_or_busy_is_asked_again_and_said_once() -> None:
    topics = ListedTopics()
    events = [account_created(position) for position in (1, 2, 3)]
    busy = Overloaded("too many readers", retry_after_s=1.0)
    heard = Heard(ListedLog(events, busy, Unavailable("it is away"), busy), topics)
    assert await heard.relay.run() == 3
    assert topics.positions == [1, 2, 3]
    assert heard.sentences == [
        "too many readers; the relay waits",
        "the relay goes on after position 0",
    ]


@pytest.mark.parametrize("written", [True, False])
async def test_a_batch_that_may_have_been_written_is_looked_for_before_it_goes_on(
    written: bool,
) -> None:
    topics = ListedTopics()
    topics.written_all_the_same = written
    events = [account_created(position) for position in range(1, 2 * BATCH_EVENTS_MAX + 1)]
    topics.failures = [Unavailable("no answer in time")]
    heard = Heard(ListedLog(events), topics)
    await heard.relay.run()
    assert topics.positions == list(range(1, 2 * BATCH_EVENTS_MAX + 1))
    assert [len(full) for full, _ in topics.batches] == [BATCH_EVENTS_MAX, BATCH_EVENTS_MAX]


async def test_a_transaction_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "BATCH_BYTES_MAX", 10_000)
    topics = ListedTopics()
    events = [account_created(position, fullname="x" * 3_000) for position in range(1, 6)]
    await Heard(ListedLog(events), topics).relay.run()
    assert [len(full) for full, _ in topics.batches] == [2, 2, 1]
    assert topics.positions == [1, 2, 3, 4, 5]


async def test_an_event_of_a_newer_build_ends_it_after_what_it_knows() -> None:
    newer = account_created(2)
    newer.event.Clear()
    topics = ListedTopics()
    await Heard(ListedLog([account_created(1)]), topics).relay.run()
    with pytest.raises(StateForbids, match="event 2 is of a newer build: upgrade this command"):
        await Heard(ListedLog([account_created(1), newer]), topics).relay.run()
    assert topics.positions == [1]


async def test_what_refuses_for_good_ends_it() -> None:
    topics = ListedTopics()
    topics.failures = [StateForbids("another relay writes to these topics now")]
    with pytest.raises(StateForbids, match="another relay"):
        await Heard(ListedLog([account_created(1)]), topics).relay.run()
