"""Where a consumer group stands in its topic: read, decided, committed, and whether it is the same
topic still."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    InvalidCommitOffsetSizeError,
    KafkaError,
    OffsetMetadataTooLargeError,
)
from aiokafka.structs import OffsetAndMetadata
from kernel.errors import EventflowsError, NotFound, Unavailable

from router.adapters.kafka_errors import kafka_errors
from router.adapters.kafka_expiry import find_expired, have_expired
from router.adapters.kafka_membership import KafkaMembership, Member
from router.adapters.kafka_topics import identify
from router.domain.beginning import Beginnings, Place, TopicReplaced, begin
from router.domain.commit_metadata import METADATA_BYTES_MAX, decode, encode, less_bytes
from router.domain.errors import PositionLost
from router.domain.flow_spec import KafkaSourceSpec
from router.domain.low_water import Mark
from router.domain.topic_identity import TopicIdentity, split_identity
from router.ports import Positions

COMMIT_TIMEOUT_S: Final = 10.0
COMMIT_METADATA_BYTES_MAX: Final = 768 * 1024
"""Of all texts of a commit. A broker writes it as one batch, by default of 1 MiB at most, and calls
a larger one an unknown error (Kafka 4)."""

_log = logging.getLogger(__name__)


class KafkaPositions:
    """The positions of one group, by way of a member of it.

    `memory` is what we remember ourselves. `identity` is the topic that the flow has read so far,
    None before the first time: a source that is opened anew gives it on.
    """

    def __init__(
        self,
        spec: KafkaSourceSpec,
        *,
        consumer: AIOKafkaConsumer,
        membership: KafkaMembership,
        memory: Positions,
        identity: TopicIdentity | None,
    ) -> None:
        self._spec = spec
        self._consumer = consumer
        self._membership = membership
        self._memory = memory
        self.identity = identity
        self._commits = 0
        """Calls of `commit` so far."""
        self._sent = 0
        """The latest of these calls whose request was sent."""
        self._metadata_bytes_max = METADATA_BYTES_MAX
        self.unreadable = 0
        """Partitions of the last `resolve` whose finished offsets could not be read."""
        self.expired = 0
        """Records that were gone then, unread, of a topic of ours."""

    async def resolve(self, partitions: Iterable[TopicPartition]) -> dict[int, Mark]:
        """Where to begin, by `domain.beginning`; committed before anything is read from there.

        So a restart before the first settle skips nothing. Raises NotFound for a topic that has
        gone, PositionLost for one that was made anew, Unavailable, aiokafka's errors.
        """
        topic = await self.check()
        numbers = [partition.partition for partition in partitions]
        everything = [self._partition(number) for number in range(topic.partitions)]
        committed = await self._membership.committed(everything)
        self.unreadable = 0
        commits = {p.partition: self._place(p, commit) for p, commit in committed.items()}
        missing = not commits.keys() >= set(numbers)
        remembered = await self._recall() if missing else {}
        try:
            beginnings = begin(
                numbers,
                topic=topic,
                commits=commits,
                remembered=remembered,
                start=self._spec.start,
            )
        except TopicReplaced:
            raise self._replaced() from None
        self.identity = beginnings.identity
        found = await self._starts(beginnings)
        if beginnings.recalled:
            _log.warning(
                "%s: the cluster has no commit of partitions %s any more; they begin at the"
                " positions that we remembered",
                self._spec.group_id,
                beginnings.recalled,
            )
        marks = {**beginnings.marks, **found}
        passed = await self._pass_expired(marks)
        marks |= passed
        fresh = {n: marks[n] for n in numbers if n not in commits or n in passed}
        if fresh:
            await self.commit(fresh)
        return marks

    async def check(self) -> TopicIdentity:
        """The topic as it is now. Raises NotFound, and PositionLost for another one of its name."""
        topic = await identify(self._consumer, self._spec.topic)
        if topic is None:
            raise missing_topic(self._spec.topic)
        if self.identity is not None and self.identity.is_another(topic):
            raise self._replaced()
        return topic

    async def has_expired(self, positions: Mapping[int, int]) -> bool:
        """Are records at these positions gone, so that `resolve` goes on behind them? Raises
        aiokafka's errors."""
        if not self._spec.is_ours:
            return False
        return await have_expired(self._consumer, self._spec.topic, positions)

    async def commit(self, marks: Mapping[int, Mark]) -> int:
        """Commit as the member that we are; of calls that overlap the last one's marks stand.

        So one that failed is only tried again if none that came later was sent: else it would move
        back what that one committed. Gives the number of partitions of which finished offsets were
        left out. Raises StaleAssignment, Unavailable, NotAllowed.
        """
        self._commits += 1
        number, member = self._commits, self._membership.member
        with kafka_errors(f"cannot commit to the group {self._spec.group_id}"):
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                cut = await self._commit(marks, number=number, member=member)
        self._memory.remember(
            self._spec.group_id,
            self._spec.topic,
            {n: Place(mark=mark, identity=self.identity) for n, mark in marks.items()},
        )
        return cut

    async def flush(self, *, within_s: float) -> None:
        """Have what we remember written. Raises nothing: it is written later, then."""
        reason = f"not within {within_s:g} s"
        try:
            async with asyncio.timeout(within_s):
                await self._memory.flush()
                return
        except TimeoutError:
            pass
        except EventflowsError as error:
            reason = error.message
        _log.info("%s: positions are written later: %s", self._spec.group_id, reason)

    async def _recall(self) -> Mapping[int, Place]:
        return await self._memory.recall(self._spec.group_id, self._spec.topic)

    async def _pass_expired(self, marks: Mapping[int, Mark]) -> Mapping[int, Mark]:
        """Of partitions whose records are gone, if the topic is ours; tells and counts them."""
        self.expired = 0
        if not self._spec.is_ours:
            return {}
        expired = await find_expired(
            self._consumer, self._spec.topic, marks, wanted_since=self._spec.wanted_since
        )
        self.expired = expired.lost
        if expired.marks:
            _log.warning(
                "%s: the retention of %s took %d completions before they were read, and %d from"
                " before the flow was enabled; partitions %s go on with the earliest record",
                self._spec.group_id,
                self._spec.topic,
                expired.lost,
                expired.unwanted,
                sorted(expired.marks),
            )
        return expired.marks

    async def _starts(self, beginnings: Beginnings) -> dict[int, Mark]:
        """The ends of the log that the start rule names."""
        found: dict[TopicPartition, int] = {}
        if beginnings.earliest:
            wanted = [self._partition(number) for number in beginnings.earliest]
            found |= await self._consumer.beginning_offsets(wanted)
        if beginnings.latest:
            wanted = [self._partition(number) for number in beginnings.latest]
            found |= await self._consumer.end_offsets(wanted)
        return {p.partition: Mark(position=offset) for p, offset in found.items()}

    async def _commit(
        self, marks: Mapping[int, Mark], *, number: int, member: Member | None
    ) -> int:
        while True:
            await self._membership.coordinator_ready()
            # Nothing suspends between here and the request: in this order they are sent.
            if number < self._sent:
                raise Unavailable(
                    f"a commit to the group {self._spec.group_id} failed, and others came after it"
                )
            self._sent = number
            offsets, cut = self._offsets(marks)
            pause_s = 0.0
            try:
                await self._membership.commit(offsets, member=member)
                return cut
            except (OffsetMetadataTooLargeError, InvalidCommitOffsetSizeError):
                refused_bytes = max(len(each.metadata) for each in offsets.values())
                if not refused_bytes:
                    raise
                self._keep_less(refused_bytes)
            except KafkaError as error:
                if not error.retriable:
                    raise
                pause_s = self._membership.retry_pause_s
            await asyncio.sleep(pause_s)

    def _offsets(
        self, marks: Mapping[int, Mark]
    ) -> tuple[dict[TopicPartition, OffsetAndMetadata], int]:
        """What to commit, and of how many partitions it leaves finished offsets out."""
        offsets, cut = self._texts(marks, self._metadata_bytes_max)
        if sum(len(each.metadata) for each in offsets.values()) > COMMIT_METADATA_BYTES_MAX:
            part_bytes = COMMIT_METADATA_BYTES_MAX // len(marks)
            offsets, cut = self._texts(marks, min(part_bytes, self._metadata_bytes_max))
        return offsets, cut

    def _texts(
        self, marks: Mapping[int, Mark], bytes_max: int
    ) -> tuple[dict[TopicPartition, OffsetAndMetadata], int]:
        prefix = self._prefix
        if len(prefix) > bytes_max:
            prefix = ""
        offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        cut = 0
        for number, mark in marks.items():
            text, is_whole = encode(mark, bytes_max=bytes_max - len(prefix))
            offsets[self._partition(number)] = OffsetAndMetadata(mark.position, prefix + text)
            cut += not is_whole
        return offsets, cut

    def _keep_less(self, refused_bytes: int) -> None:
        """The broker has no room for a text of that length; another commit may have found so."""
        prefix_bytes = len(self._prefix)
        room_bytes = less_bytes(refused_bytes, prefix_bytes=prefix_bytes)
        if room_bytes >= self._metadata_bytes_max:
            return
        self._metadata_bytes_max = room_bytes
        _log.warning(
            "%s: the broker keeps no %d bytes with a commit; at most %d from now on%s",
            self._spec.group_id,
            refused_bytes,
            room_bytes,
            "" if room_bytes >= prefix_bytes else ", so not which topic it is for",
        )

    @property
    def _prefix(self) -> str:
        return "" if self.identity is None else self.identity.prefix

    def _replaced(self) -> PositionLost:
        topic, group = self._spec.topic, self._spec.group_id
        return PositionLost(
            f"the topic {topic} is not the one that the flow has read: it was deleted and made"
            " anew, or the connection leads to another cluster now. Nothing of it is read before"
            f" you say where to begin: disable the flow, set the offsets of the group {group} for"
            " all partitions (kafka-consumer-groups --reset-offsets), enable the flow"
        )

    def _place(self, partition: TopicPartition, commit: OffsetAndMetadata) -> Place:
        identity, rest = split_identity(commit.metadata or "")
        finished = decode(commit.offset, rest)
        if finished is None:
            self.unreadable += 1
            _log.warning("%s: metadata that is not ours stands with the commit", partition)
        return Place(mark=Mark(position=commit.offset, finished=finished or ()), identity=identity)

    def _partition(self, number: int) -> TopicPartition:
        return TopicPartition(self._spec.topic, number)


def missing_topic(topic: str) -> NotFound:
    """What to tell about a topic of which nothing was found."""
    return NotFound(f"the topic {topic} does not exist, or its user may not describe it")
