"""A topic as a source: one consumer for each flow, commits by hand, positions resolved by us.

Nothing is polled from the moment partitions are revoked until the positions of the new ones are
known and sought: aiokafka fetches while its assignment callback still runs, and would hand out
records of a position that we have not chosen (checked).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import ConsumerRecord
from kernel.errors import EventflowsError, Unavailable

from router.adapters.kafka_clients import client_settings
from router.adapters.kafka_errors import kafka_errors
from router.adapters.kafka_membership import KafkaMembership, stop_consumer
from router.adapters.kafka_positions import KafkaPositions, require_topic
from router.adapters.kafka_probe import diagnose
from router.domain.delivery import Delivery
from router.domain.errors import StaleAssignment
from router.domain.flow_spec import FlowSpec
from router.domain.kafka_connection import KafkaConnection
from router.domain.lag import Lag
from router.domain.low_water import Mark
from router.domain.record_ages import RecordAges
from router.ports import AssignmentListener, Clock

FETCH_BYTES_MAX: Final = 16 * 1024 * 1024
PARTITION_FETCH_BYTES_MAX: Final = 4 * 1024 * 1024
METADATA_AGE_MAX_S: Final = 60.0
RETRY_PAUSE_S: Final = 0.3
OPEN_TIMEOUT_S: Final = 20.0
RESOLVE_TIMEOUT_S: Final = 8.0
CLOSE_TIMEOUT_S: Final = 5.0
REBALANCE_ROOM_S: Final = 5.0
"""What a member has, on top of the drain bound, to join again (promise 3)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTimes:
    """Times of the group protocol, seconds. `drain_s` is the bound of the pump that reads."""

    session_timeout_s: float = 10.0
    heartbeat_s: float = 1.0
    max_poll_interval_s: float = 300.0
    drain_s: float = 5.0


class KafkaSource:
    """Source of the topic that a flow's spec names."""

    def __init__(
        self,
        spec: FlowSpec,
        *,
        connection: KafkaConnection,
        clock: Clock,
        times: GroupTimes | None = None,
    ) -> None:
        self._flow_id = spec.flow_id
        self._client_id = f"eventflows-{spec.flow_id}-{spec.instance}"
        self._topic = spec.source.topic
        self._spec = spec.source
        self._connection = connection
        self._clock = clock
        self._times = times or GroupTimes()
        self._consumer: AIOKafkaConsumer | None = None
        self._membership: KafkaMembership | None = None
        self._positions: KafkaPositions | None = None
        self._listener: AssignmentListener | None = None
        self._poll: asyncio.Task[dict[TopicPartition, list[ConsumerRecord]]] | None = None
        self._failure: Exception | None = None
        self._changed = asyncio.Event()
        self._last_epoch = 0
        self._receiving: int | None = None
        self._settling: int | None = None
        self._next: dict[int, int] = {}
        self._ages: dict[int, RecordAges] = {}

    async def open(self, listener: AssignmentListener) -> None:
        """Connect and join the group; the first assignment comes later, through the listener."""
        await self.close()
        rebalance_s = self._times.drain_s + REBALANCE_ROOM_S
        consumer = self._consumer = AIOKafkaConsumer(
            **client_settings(self._connection, client_id=self._client_id)
            | {"request_timeout_ms": _ms(rebalance_s + REBALANCE_ROOM_S)},
            group_id=self._spec.group_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=_ms(self._times.session_timeout_s),
            heartbeat_interval_ms=_ms(self._times.heartbeat_s),
            max_poll_interval_ms=_ms(self._times.max_poll_interval_s),
            rebalance_timeout_ms=_ms(rebalance_s),
            retry_backoff_ms=_ms(RETRY_PAUSE_S),
            metadata_max_age_ms=_ms(METADATA_AGE_MAX_S),
            fetch_max_bytes=FETCH_BYTES_MAX,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
        )
        try:
            with kafka_errors("cannot read the topic"):
                async with asyncio.timeout(OPEN_TIMEOUT_S):
                    await consumer.start()
                    topics = await consumer.topics()
        except Unavailable as error:
            if not isinstance(error.__cause__, KafkaConnectionError):
                raise
            raise await diagnose(self._connection) or error from error.__cause__
        require_topic(self._topic, self._topic in topics)
        self._listener = listener
        membership = self._membership = KafkaMembership(consumer, self._clock)
        self._positions = KafkaPositions(self._spec, consumer=consumer, membership=membership)
        consumer.subscribe([self._topic], listener=_Rebalances(self))

    async def receive(self, *, wait_s: float, records_max: int) -> Sequence[Delivery]:
        """Poll once, or go on with a poll that was not over."""
        if self._failure is not None:
            raise self._failure
        if self._membership is not None:
            self._membership.check()
        epoch = self._receiving
        if epoch is None:
            await self._wait_for_change(wait_s)
            return ()
        poll = self._poll
        if poll is None:
            polling = self._open_consumer().getmany(timeout_ms=_ms(wait_s), max_records=records_max)
            poll = self._poll = asyncio.create_task(polling)
        await asyncio.wait({poll}, timeout=wait_s)
        if not poll.done() or self._receiving != epoch:
            return ()
        self._poll = None
        with kafka_errors(f"reading {self._topic}"):
            records = poll.result()
        for partition, some in records.items():
            ages = self._ages[partition.partition]
            ages.received(some[0].offset, some[-1].offset, some[0].timestamp)
        return [
            self._delivery(record, epoch=epoch)
            for partition_records in records.values()
            for record in partition_records
        ]

    async def settle(self, marks: Mapping[int, Mark], *, epoch: int) -> None:
        """Commit, as the member that was given the partitions and as nobody else."""
        if epoch != self._settling or self._positions is None:
            raise StaleAssignment("the partitions were given to somebody else")
        await self._positions.commit(marks)

    def pause(self, partitions: Iterable[int]) -> None:
        consumer = self._open_consumer()
        consumer.pause(*self._assigned_of(partitions))

    def resume(self, partitions: Iterable[int]) -> None:
        consumer = self._open_consumer()
        consumer.resume(*self._assigned_of(partitions))

    def holds(self, *, epoch: int) -> bool:
        return (
            epoch == self._receiving
            and self._membership is not None
            and self._membership.is_confirmed(within_s=self._times.session_timeout_s)
        )

    async def lag(self, positions: Mapping[int, int]) -> Lag:
        """To the end of the log; offsets that hold no record do not count once they are passed."""
        self._open_consumer()
        assert self._positions is not None
        waiting = await self._positions.lag(positions, received=self._next)
        now_ms = int(self._clock.now().timestamp() * 1_000)
        ages_ms = [
            self._ages[number].waiting_ms(positions[number], now_ms=now_ms)
            for number, records in waiting.items()
            if records and number in self._ages
        ]
        return Lag(records=sum(waiting.values()), oldest_age_s=max(ages_ms, default=0) / 1_000)

    async def close(self) -> None:
        """Leave the group; give up waiting for a broker that does not answer."""
        consumer, self._consumer = self._consumer, None
        self._receiving = self._settling = self._failure = None
        await self._break_off_poll()
        if consumer is None:
            return
        if not await stop_consumer(consumer, wait_s=CLOSE_TIMEOUT_S):
            _log.info("flow %s: left its group without a word", self._flow_id)

    # What aiokafka tells --------------------------------------------------------------------------

    async def revoked(self) -> None:
        """Receive nothing more; let the reader drain and settle; then nothing is settled either."""
        self._receiving = None
        await self._break_off_poll()
        try:
            if self._listener is not None:
                await self._listener.on_revoked()
        finally:
            self._settling = None

    async def assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """Find out where to begin, go there, and only then hand out records."""
        membership, positions, listener = self._membership, self._positions, self._listener
        assert membership is not None
        assert positions is not None
        assert listener is not None
        try:
            with kafka_errors(f"cannot tell where to begin in {self._topic}"):
                async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                    await membership.begin()
                    marks = await positions.resolve(partitions)
        except EventflowsError as error:
            self.fail(error)
            return
        consumer = self._open_consumer()
        for number, mark in marks.items():
            consumer.seek(self._partition(number), mark.position)
        self._next = {number: mark.position for number, mark in marks.items()}
        self._ages = {number: RecordAges() for number in marks}
        self._last_epoch += 1
        self._receiving = self._settling = self._last_epoch
        listener.on_assigned(marks, epoch=self._last_epoch, unreadable=positions.unreadable)
        self._changed.set()

    def fail(self, error: Exception) -> None:
        """Let the next `receive` raise it."""
        self._failure = error
        self._changed.set()

    # Small things ---------------------------------------------------------------------------------

    def _delivery(self, record: ConsumerRecord, *, epoch: int) -> Delivery:
        self._next[record.partition] = record.offset + 1
        return Delivery(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            epoch,
            record.headers,
        )

    async def _wait_for_change(self, wait_s: float) -> None:
        self._changed.clear()
        waiter = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({waiter}, timeout=wait_s)
        finally:
            waiter.cancel()

    async def _break_off_poll(self) -> None:
        """What it had taken was not handed out; it comes again from the settled position."""
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.cancel()
            await asyncio.wait({poll})
            if not poll.cancelled():
                poll.exception()  # seen; what ails the consumer shows in the next poll

    def _open_consumer(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise Unavailable("the source is closed")
        return self._consumer

    def _assigned_of(self, partitions: Iterable[int]) -> set[TopicPartition]:
        assigned: set[TopicPartition] = self._open_consumer().assignment()
        return assigned & {self._partition(p) for p in partitions}

    def _partition(self, number: int) -> TopicPartition:
        return TopicPartition(self._topic, number)


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """Passes aiokafka's callbacks on, and what they raise to `receive`: aiokafka only logs it."""

    def __init__(self, source: KafkaSource) -> None:
        self._source = source

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        try:
            await self._source.revoked()
        except Exception as error:
            self._source.fail(error)
            raise

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        try:
            await self._source.assigned(frozenset(assigned))
        except Exception as error:
            self._source.fail(error)
            raise


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
