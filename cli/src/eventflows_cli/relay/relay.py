"""From the log to Kafka: read a batch, fold it, write it; after any failure look where Kafka is.

    taking over ──last record──▶ folding up to it ──▶ relaying ──away, busy──▶ backing off
         ▲                                                                          │
         └──────────────────────────────────────────────────────────────────────────┘

The place in the log is kept in Kafka alone: the position of the last record of the full topic.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol

from aiokafka import ConsumerRecord
from catalog import aggregates
from catalog.catalog import Catalog
from catalog.codec import recorded_from_message
from catalog.touched import touched
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.backoff import delay_s
from kernel.errors import Overloaded, StateForbids, Unavailable

from eventflows_cli.relay import records
from eventflows_cli.relay.kafka_log import KafkaLog, position_of
from eventflows_cli.relay.records import Record

BATCH_EVENTS_MAX = 500
"""Of one transaction; a Watch batch has up to 1,000 events."""
BATCH_BYTES_MAX = 8 * 1024 * 1024
"""Of one transaction, exceeded by the records of its last event at most: a small event may touch a
large state, so the size of what is read does not bound what is written."""
BACKOFF_FIRST_S = 0.2
BACKOFF_LONGEST_S = 10.0


class Log(Protocol):
    """The registry's log."""

    async def catalog_at(self, position: int) -> Catalog:
        """The catalog at a position of the log. Raises Unavailable, InvalidInput."""
        ...

    async def event(self, position: int) -> events_pb2.RecordedEvent | None:
        """One event; None beyond the head. Raises Unavailable."""
        ...

    def batches(self, after: int) -> AsyncGenerator[pb.WatchBatch, None]:
        """Batches without gaps, live at the end. Raises Unavailable when the stream breaks."""
        ...


class Relay:
    """Writes every event once, in order, and the state of what it touched.

    `until_head`: stop at the head that the first batch tells of. `progress` hears
    (position, head position) after each batch that was written, and at each heartbeat; `say` hears
    why the relay waits.
    """

    def __init__(
        self,
        log: Log,
        kafka: Callable[[], AbstractAsyncContextManager[KafkaLog]],
        *,
        source: str,
        until_head: bool = False,
        progress: Callable[[int, int], None],
        say: Callable[[str], None],
    ) -> None:
        self._log = log
        self._kafka = kafka
        self._source = source
        self._until_head = until_head
        self._progress = progress
        self._say = say
        self._written = 0

    async def run(self) -> int:
        """Relay until the end that was asked for, or for ever; the last position in the topic.

        Raises StateForbids: the topics do not fit, belong to another log or to another relay, or
        an event is of a newer build; TooLarge for a state that no record may hold; NotAllowed.
        """
        failures = 0
        while True:
            written = self._written
            try:
                async with self._kafka() as kafka:
                    return await self._relay(kafka, resumed=failures > 0)
            except (Unavailable, Overloaded) as error:
                failures = 1 if self._written > written else failures + 1
                if failures == 1:
                    self._say(f"{error.message}; the relay waits")
                await asyncio.sleep(
                    delay_s(
                        failures, first_s=BACKOFF_FIRST_S, longest_s=BACKOFF_LONGEST_S,
                        random=random.random,
                    )
                )  # fmt: skip

    async def _relay(self, kafka: KafkaLog, *, resumed: bool) -> int:
        catalog = await self._resume(await kafka.last())
        end: int | None = None
        async with aclosing(self._log.batches(catalog.position)) as batches:
            async for batch in batches:
                if end is None:
                    end = batch.head_position
                    if resumed:
                        self._say(f"the relay goes on after position {catalog.position}")
                for full, states in self._folded(catalog, batch.events):
                    await kafka.write(full, states)
                    self._written = catalog.position
                self._progress(catalog.position, batch.head_position)
                if self._until_head and catalog.position >= end:
                    break
        return catalog.position

    async def _resume(self, last: ConsumerRecord[bytes, bytes] | None) -> Catalog:
        """The catalog where Kafka is. Raises StateForbids when that is not a place of this log."""
        if last is None:
            return Catalog()
        position = position_of(last)
        event = await self._log.event(position)
        if event is None or not records.is_of(event, key=last.key, headers=last.headers):
            raise StateForbids(
                f"the last record of {last.topic} is event {position} of another log: choose other "
                "topics for this one"
            )
        return await self._log.catalog_at(position)

    def _folded(
        self, catalog: Catalog, events: Sequence[events_pb2.RecordedEvent]
    ) -> Iterator[tuple[list[Record], list[Record]]]:
        """(records of the full topic, records of the state topic) of each transaction, both in the
        log's order. `catalog` is at the last event of what was given."""
        full: list[Record] = []
        states: list[Record] = []
        size_bytes = 0
        for message in events:
            full.append(records.of_event(message, source=self._source))
            changed = self._fold(catalog, message)
            states += changed
            size_bytes += full[-1].size_bytes + sum(state.size_bytes for state in changed)
            if len(full) == BATCH_EVENTS_MAX or size_bytes >= BATCH_BYTES_MAX:
                yield full, states
                full, states, size_bytes = [], [], 0
        if full:
            yield full, states

    def _fold(self, catalog: Catalog, message: events_pb2.RecordedEvent) -> list[Record]:
        """Take the event in; the states of what it touched."""
        recorded = recorded_from_message(message)
        changed = touched(catalog, recorded)
        catalog.apply(recorded)
        states = []
        for one in changed:
            state = aggregates.of(catalog, one.kind, one.id)
            aggregate = None if state is None else aggregates.to_message(state)
            states.append(records.of_state(message, one.id, aggregate, source=self._source))
        return states
