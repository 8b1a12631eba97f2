"""A topic as a source: one consumer for each flow, commits by hand, positions resolved by us.

Nothing is fetched from the moment partitions are revoked until the positions of the new ones are
known: nobody hands out records of a position that we have not chosen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaConnectionError
from kernel.errors import EventflowsError, Unavailable
from servicekit.kafka_goodbye import stop_consumer

from router.adapters.kafka_consumer import GroupTimes, make_consumer, retry_pause_s
from router.adapters.kafka_errors import kafka_errors
from router.adapters.kafka_fetches import KafkaFetches
from router.adapters.kafka_lag import measure_lag
from router.adapters.kafka_membership import KafkaMembership
from router.adapters.kafka_positions import KafkaPositions, missing_topic
from router.adapters.kafka_probe import diagnose
from router.adapters.kafka_topics import identify
from router.application.limits import CLOSING_FLUSH_S, GOODBYE_S, REVOKED_FLUSH_S
from router.domain.delivery import Delivery
from router.domain.errors import PositionLost, StaleAssignment
from router.domain.flow_spec import FlowSpec
from router.domain.kafka_connection import KafkaConnection
from router.domain.lag import Lag
from router.domain.low_water import Mark
from router.domain.topic_identity import TopicIdentity
from router.ports import AssignmentListener, Clock
from router.ports import Positions as PositionsMemory

OPEN_TIMEOUT_S: Final = 20.0
RESOLVE_TIMEOUT_S: Final = 8.0
CHECK_TIMEOUT_S: Final = 5.0

_log = logging.getLogger(__name__)


class KafkaSource:
    """Source of the topic that a flow's spec names."""

    def __init__(
        self,
        spec: FlowSpec,
        *,
        connection: KafkaConnection,
        clock: Clock,
        positions: PositionsMemory,
        times: GroupTimes | None = None,
    ) -> None:
        self._flow_id = spec.flow_id
        self._topic = spec.source.topic
        self._spec = spec
        self._connection = connection
        self._clock = clock
        self._memory = positions
        self._times = times or GroupTimes()
        self._retry_pause_s = retry_pause_s(spec)
        self._consumer: AIOKafkaConsumer | None = None
        self._membership: KafkaMembership | None = None
        self._positions: KafkaPositions | None = None
        self._listener: AssignmentListener | None = None
        self._fetches: KafkaFetches | None = None
        self._failure: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._identity: TopicIdentity | None = None
        self._metadata_is_new = False
        self._last_epoch = 0
        self._receiving: int | None = None
        self._settling: int | None = None

    async def open(self, listener: AssignmentListener) -> None:
        """Connect and join the group; the first assignment comes later, through the listener."""
        await self.close()
        consumer = self._consumer = make_consumer(
            self._spec, self._connection, self._times, retry_pause_s=self._retry_pause_s
        )
        try:
            with kafka_errors("cannot read the topic"):
                async with asyncio.timeout(OPEN_TIMEOUT_S):
                    await consumer.start()
                    topic = await identify(consumer, self._topic)
        except Unavailable as error:
            if not isinstance(error.__cause__, KafkaConnectionError):
                raise
            raise await diagnose(self._connection) or error from error.__cause__
        if topic is None:
            raise missing_topic(self._topic)
        self._listener = listener
        self._fetches = KafkaFetches(
            consumer,
            topic=self._topic,
            read_committed=self._spec.source.read_committed,
            retry_pause_s=self._retry_pause_s,
            arrived=self._wake,
        )
        membership = self._membership = KafkaMembership(
            consumer, self._clock, retry_pause_s=self._retry_pause_s
        )
        self._positions = KafkaPositions(
            self._spec.source,
            consumer=consumer,
            membership=membership,
            memory=self._memory,
            identity=self._identity,
        )
        # aiokafka 0.14 tells nobody publicly of news about the cluster.
        consumer._client.cluster.add_listener(self._on_metadata)
        consumer.subscribe([self._topic], listener=_Rebalances(self))

    async def receive(self, *, wait_s: float, records_max: int) -> Sequence[Delivery]:
        """What was fetched, at once; else the first that comes. A change wakes it as well."""
        membership = self._membership
        if membership is None:
            return await self._receive(wait_s, records_max)
        membership.poll_begins()
        try:
            return await self._receive(wait_s, records_max)
        except PositionLost as lost:
            await self._let_expire(lost)
            raise
        finally:
            membership.poll_ends()

    async def _receive(self, wait_s: float, records_max: int) -> Sequence[Delivery]:
        if self._metadata_is_new and not await self._is_same_topic():
            await self._wait(min(wait_s, self._retry_pause_s))
            return []
        deliveries = self._take(records_max)
        if deliveries:
            return deliveries
        await self._wait(wait_s)
        return [] if self._metadata_is_new else self._take(records_max)

    async def settle(self, marks: Mapping[int, Mark], *, epoch: int) -> int:
        """Commit, as the member that was given the partitions and as nobody else."""
        if epoch != self._settling or self._positions is None:
            raise StaleAssignment("the partitions were given to somebody else")
        return await self._positions.commit(marks)

    def pause(self, partitions: Iterable[int]) -> None:
        self._open_fetches().pause(partitions)

    def resume(self, partitions: Iterable[int]) -> None:
        if self._open_fetches().resume(partitions):
            self._wake()  # what was held back is here already: no fetch would tell of it

    def holds(self, *, epoch: int) -> bool:
        return (
            epoch == self._receiving
            and self._membership is not None
            and self._membership.is_confirmed(within_s=self._times.session_timeout_s)
        )

    async def lag(self, positions: Mapping[int, int]) -> Lag:
        """To the end of the log; offsets that hold no record do not count once they are passed."""
        fetches, consumer = self._open_fetches(), self._consumer
        assert consumer is not None
        now_ms = int(self._clock.now().timestamp() * 1_000)
        return await measure_lag(consumer, fetches, positions, topic=self._topic, now_ms=now_ms)

    async def close(self) -> None:
        """Leave the group within SOURCE_CLOSE_MAX_S, whoever answers, and whoever is cancelled."""
        consumer, self._consumer = self._consumer, None
        positions, self._positions = self._positions, None
        fetches, self._fetches = self._fetches, None
        self._membership = None
        self._receiving = self._settling = self._failure = None
        self._wake()
        if fetches is not None:
            fetches.let_go()
        try:
            if positions is not None:
                await positions.flush(within_s=CLOSING_FLUSH_S)
        finally:
            if consumer is not None and not await stop_consumer(consumer, wait_s=GOODBYE_S):
                _log.info("flow %s: left its group without a word", self._flow_id)

    # What aiokafka tells --------------------------------------------------------------------------

    async def revoked(self) -> None:
        """Receive nothing more; let the reader drain and settle; then nothing is settled either."""
        self._receiving = None
        self._wake()
        if self._fetches is not None:
            self._fetches.let_go()
        try:
            if self._listener is not None:
                await self._listener.on_revoked()
        finally:
            self._settling = None
        if self._positions is not None:
            await self._positions.flush(within_s=REVOKED_FLUSH_S)

    async def assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """Find out where to begin, go there, and only then hand out records."""
        membership, positions, listener = self._membership, self._positions, self._listener
        fetches = self._open_fetches()
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
        if self._fetches is not fetches:
            raise Unavailable("the source is closed")
        self._identity, self._metadata_is_new = positions.identity, False
        fetches.begin(marks)
        self._last_epoch += 1
        self._receiving = self._settling = self._last_epoch
        listener.on_assigned(
            marks,
            epoch=self._last_epoch,
            unreadable=positions.unreadable,
            expired=positions.expired,
        )
        self._wake()

    def fail(self, error: Exception) -> None:
        """Let the next `receive` raise it."""
        self._failure = error
        self._wake()

    # Small things ---------------------------------------------------------------------------------

    def _take(self, records_max: int) -> list[Delivery]:
        if self._failure is not None:
            raise self._failure
        if self._membership is not None:
            self._membership.check()
        epoch, fetches = self._receiving, self._fetches
        if epoch is None or fetches is None:
            return []
        with kafka_errors(f"reading {self._topic}"):
            return fetches.take(records_max, epoch=epoch)

    def _on_metadata(self, cluster: object) -> None:
        self._metadata_is_new = True

    async def _is_same_topic(self) -> bool:
        """After news of the cluster, before anything more is handed out; False: ask again soon.

        Whoever deletes a topic under a running consumer makes its fetches fail, and for that we ask
        for news. Raises NotFound, PositionLost, NotAllowed.
        """
        if self._receiving is None or self._positions is None:
            return True
        self._metadata_is_new = False
        try:
            with kafka_errors(f"reading {self._topic}"):
                async with asyncio.timeout(CHECK_TIMEOUT_S):
                    await self._positions.check()
        except Unavailable:
            self._metadata_is_new = True
        return not self._metadata_is_new

    async def _let_expire(self, lost: PositionLost) -> None:
        """Raise Unavailable if the source goes on behind what is gone, once it is opened anew."""
        positions, fetches = self._positions, self._fetches
        if positions is None or fetches is None:
            return
        reached = {number: fetches.position(number) for number in fetches.next_offsets}
        with kafka_errors(f"reading {self._topic}"):
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                if await positions.has_expired(reached):
                    raise Unavailable(
                        f"the retention of {self._topic} took unread records"
                    ) from lost

    async def _wait(self, wait_s: float) -> None:
        """Until something was fetched or has changed, or for so long."""
        loop = asyncio.get_running_loop()
        self._waiting = waiting = loop.create_future()
        timer = loop.call_later(wait_s, self._wake)
        try:
            await waiting
        finally:
            timer.cancel()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _open_fetches(self) -> KafkaFetches:
        if self._fetches is None:
            raise Unavailable("the source is closed")
        return self._fetches


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
