"""From the log to Kafka: read a batch, fold it, write it; after any failure look where Kafka is.

    taking over ──last record──▶ folding up to it ──▶ relaying ──Unavailable──▶ backing off
         ▲                                                                          │
         └──────────────────────────────────────────────────────────────────────────┘

The place in the log is kept in Kafka alone: the position of the last record of the full topic.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
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
from kernel.errors import StateForbids, Unavailable

from eventflows_cli.relay import records
from eventflows_cli.relay.kafka_log import KafkaLog, position_of
from eventflows_cli.relay.records import Record

BATCH_EVENTS_MAX = 500
"""Of one transaction; a Watch batch has up to 1,000 events."""
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

        Raises StateForbids: the topics do not fit, or belong to another log or to another relay.
        """
        failures = 0
        while True:
            written = self._written
            try:
                async with self._kafka() as kafka:
                    return await self._relay(kafka)
            except Unavailable as error:
                failures = 1 if self._written > written else failures + 1
                self._say(f"{error.message}; the relay waits")
                await asyncio.sleep(
                    delay_s(
                        failures, first_s=BACKOFF_FIRST_S, longest_s=BACKOFF_LONGEST_S,
                        random=random.random,
                    )
                )  # fmt: skip

    async def _relay(self, kafka: KafkaLog) -> int:
        catalog = await self._resume(await kafka.last())
        end: int | None = None
        async with aclosing(self._log.batches(catalog.position)) as batches:
            async for batch in batches:
                end = batch.head_position if end is None else end
                for start in range(0, len(batch.events), BATCH_EVENTS_MAX):
                    part = batch.events[start : start + BATCH_EVENTS_MAX]
                    await kafka.write(*self._fold(catalog, part))
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
        if event is None or records.of_event(event, source=self._source).value != last.value:
            raise StateForbids(
                f"the last record of {last.topic} is event {position} of another log: choose other "
                "topics for this one"
            )
        return await self._log.catalog_at(position)

    def _fold(
        self, catalog: Catalog, events: Sequence[events_pb2.RecordedEvent]
    ) -> tuple[list[Record], list[Record]]:
        """(records of the full topic, records of the state topic), both in the log's order."""
        full: list[Record] = []
        states: list[Record] = []
        for message in events:
            recorded = recorded_from_message(message)
            changed = touched(catalog, recorded)
            catalog.apply(recorded)
            full.append(records.of_event(message, source=self._source))
            for one in changed:
                state = aggregates.of(catalog, one.kind, one.id)
                states.append(
                    records.of_state(
                        message,
                        one.id,
                        None if state is None else aggregates.to_message(state),
                        source=self._source,
                    )
                )
        return full, states
