"""What aiokafka has fetched, taken at once: without a task, without its record objects.

Reaches into private parts of aiokafka 0.14 (pinned), in this file alone, for three reasons that
were measured or checked against a real broker:

* `getmany` has to be wrapped in a task to be cancelled without losing what it took, and makes one
  object of eleven fields for each record; a look at what is there costs a tenth (ADR 0013);
* it throws away what was fetched of a partition that is paused, and loses what it took from other
  partitions when one of them fails;
* a broker answers the requests of a connection one after the other, and a fetch that waits for
  records is one: whatever else is asked there waits too. So a fetch waits long only while it speaks
  for all partitions; else one that was held back would stand still until another has records.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.consumer.fetcher import FetchError
from aiokafka.errors import CorruptRecordException
from kernel.errors import Unavailable

from router.adapters.kafka_errors import kafka_errors
from router.domain.delivery import Delivery
from router.domain.low_water import Mark
from router.domain.record_ages import RecordAges

IDLE_WAIT_MS: Final = 2_000
"""How long a fetch waits at the broker, which answers as soon as there is a record."""
HELD_WAIT_MS: Final = 100
"""The same while some partition is left out, because it is paused or was not taken from yet."""
LOOK_S: Final = 1.0
"""aiokafka's fetcher looks after itself five times a second; nothing that it waits for needs it."""
FETCH_KEY: Final = 1
"""Of Kafka's protocol."""
FRESH_MS: Final = 3 * IDLE_WAIT_MS
LAG_TIMEOUT_S: Final = 5.0


class KafkaFetches:
    """Records of one consumer that was started. `begin` for each assignment, then `take`."""

    def __init__(self, consumer: AIOKafkaConsumer, *, topic: str, read_committed: bool) -> None:
        self._consumer = consumer
        self._client: Any = consumer._client
        self._subscription: Any = consumer._subscription
        self._fetcher: Any = consumer._fetcher
        self._topic = topic
        self._read_committed = read_committed
        self._ages: dict[int, RecordAges] = {}
        self._next: dict[int, int] = {}
        self._one_by_one: set[TopicPartition] = set()
        """Partitions with a record that cannot be read: aiokafka throws away those before it that
        are taken with it."""
        self._fetcher._fetcher_timeout = LOOK_S
        self._plan = self._fetcher._get_actions_per_node
        self._fetcher._get_actions_per_node = self._plan_with_wait

    def begin(self, marks: Mapping[int, Mark]) -> None:
        """Go to the positions of a new assignment; what was fetched from elsewhere is dropped."""
        for number, mark in marks.items():
            self._consumer.seek(TopicPartition(self._topic, number), mark.position)
        self._next = {number: mark.position for number, mark in marks.items()}
        self._ages = {number: RecordAges() for number in marks}
        self._one_by_one.clear()

    def take(self, records_max: int, *, epoch: int) -> list[Delivery]:
        """At most so many records, of all partitions in turn; none if none was fetched.

        Raises aiokafka's errors. What was taken before an error comes first, the error next time.
        """
        fetched, assignment = self._fetcher._records, self._subscription.subscription.assignment
        if not fetched or assignment is None:
            return []
        make = _maker(epoch)
        deliveries: list[Delivery] = []
        for partition in tuple(fetched):
            state = assignment.state_value(partition)
            if state is None or state.paused:
                continue
            result = fetched[partition]
            try:
                if isinstance(result, FetchError):
                    if deliveries:
                        break
                    self._drop(partition)
                    result.check_raise()
                result._partition_records._consumer_record = make
                one_by_one = partition in self._one_by_one
                some = result.getall(1 if one_by_one else records_max - len(deliveries))
            except (UnicodeDecodeError, CorruptRecordException) as error:
                if deliveries:
                    break
                self._drop(partition)
                if partition not in self._one_by_one:
                    self._one_by_one.add(partition)  # it is fetched again, from where we stand
                    continue
                place = f"{partition.topic}-{partition.partition}@{state.position}"
                raise CorruptRecordException(place) from error
            except Exception:
                if deliveries:
                    break
                self._drop(partition)
                raise
            if result.has_more():
                fetched.move_to_end(partition)
            else:
                self._drop(partition)
            if some:
                self._note(partition.partition, some)
                deliveries += some
                if len(deliveries) >= records_max:
                    break
        return deliveries

    def arrival(self) -> asyncio.Future[None]:
        """Done when something was fetched, or when the group has an error: then it raises that."""
        waiter: asyncio.Future[None] = self._fetcher._create_fetch_waiter()
        return waiter

    @contextlib.contextmanager
    def polling(self) -> Iterator[None]:
        """Within, and for `max_poll_interval` after, we count as somebody who polls."""
        subscription = self._subscription
        subscription._fetch_count += 1
        try:
            yield
        finally:
            subscription._fetch_count -= 1
            subscription._last_fetch_ended = time.monotonic()

    def let_go(self) -> None:
        """Fetch nothing more of these partitions; break off a fetch that waits at the broker, which
        would stand in the way of whatever is asked next."""
        self._consumer.pause(*self._subscription.assigned_partitions())
        for (_, group), connection in tuple(self._client._conns.items()):
            waiting = connection._requests
            if group is not ConnectionGroup.DEFAULT or not waiting:
                continue
            if all(request.API_KEY == FETCH_KEY for _, request, _ in waiting):
                for _, _, answer in waiting:
                    answer.cancel()  # aiokafka takes that in silence; a closed connection it logs
                writer = connection._writer
                connection.close(reason=CloseReason.SHUTDOWN)
                writer.transport.abort()  # TLS would wait for the broker to say good-bye

    async def lag(self, positions: Mapping[int, int], *, now_ms: int) -> tuple[int, int]:
        """Records from `positions` to the end of the log, and how long the oldest waits, ms.

        Most ends are known from the last fetch; the broker is asked for those of partitions that
        are not fetched just now. Offsets that hold no record do not count once they are passed.
        Raises Unavailable.
        """
        ends = await self._ends(positions)
        records, oldest_ms = 0, 0
        for number, position in positions.items():
            state = self._state(TopicPartition(self._topic, number))
            passed = state.position if state is not None and state.has_valid_position else 0
            if position == self._next.get(number):
                position = max(position, passed)
            ages = self._ages.setdefault(number, RecordAges())
            ages.forget_below(position)
            waiting = ends[number] - position
            if waiting > 0:
                records += waiting
                oldest_ms = max(oldest_ms, ages.waiting_ms(position, now_ms=now_ms))
        return records, oldest_ms

    async def _ends(self, positions: Mapping[int, int]) -> dict[int, int]:
        ends: dict[int, int] = {}
        unknown: list[TopicPartition] = []
        now_ms = time.time() * 1_000
        for number in positions:
            partition = TopicPartition(self._topic, number)
            state = self._state(partition)
            end = None
            if state is not None and not state.paused and partition not in self._fetcher._records:
                end = state.lso if self._read_committed else state.highwater
            if end is None or now_ms - state.timestamp > FRESH_MS:
                unknown.append(partition)
            else:
                ends[number] = end
        if unknown:
            with kafka_errors("cannot measure the lag"):
                async with asyncio.timeout(LAG_TIMEOUT_S):
                    asked = await self._consumer.end_offsets(unknown)
            ends |= {partition.partition: offset for partition, offset in asked.items()}
        if len(ends) < len(positions):
            raise Unavailable("cannot measure the lag: the broker named no end of some partitions")
        return ends

    def _plan_with_wait(self, assignment: Any) -> Any:
        fetched = self._fetcher._records
        held = any(tp in fetched or assignment.state_value(tp).paused for tp in assignment.tps)
        self._fetcher._fetch_max_wait_ms = HELD_WAIT_MS if held else IDLE_WAIT_MS
        return self._plan(assignment)

    def _note(self, number: int, some: list[Delivery]) -> None:
        last = some[-1].offset
        self._next[number] = last + 1
        self._ages[number].received(some[0].offset, last, some[0].timestamp_ms)

    def _drop(self, partition: TopicPartition) -> None:
        """Let the fetcher go on with this partition."""
        self._fetcher._records.pop(partition, None)
        self._fetcher._notify(self._fetcher._wait_consume_future)

    def _state(self, partition: TopicPartition) -> Any:
        subscription = self._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        return None if assignment is None else assignment.state_value(partition)


def _maker(epoch: int) -> Callable[[TopicPartition, Any], Delivery]:
    """What makes one of our records of one of aiokafka's batches."""

    def make(partition: TopicPartition, record: Any) -> Delivery:
        return Delivery(
            partition[0],
            partition[1],
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            epoch,
            tuple(record.headers),
        )

    return make
