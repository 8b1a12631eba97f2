"""Where a consumer group stands in its topic: read, resolved by the start rule, committed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from catalog.events import StartAt
from kernel.errors import NotFound, TooLarge

from router.adapters.kafka_errors import kafka_errors
from router.adapters.kafka_membership import KafkaMembership
from router.domain.commit_metadata import METADATA_BYTES_MAX, decode, encode
from router.domain.flow_spec import KafkaSourceSpec
from router.domain.low_water import Mark

COMMIT_TIMEOUT_S: Final = 10.0
LAG_TIMEOUT_S: Final = 5.0

_log = logging.getLogger(__name__)


class KafkaPositions:
    """The positions of one group, by way of a member of it."""

    def __init__(
        self, spec: KafkaSourceSpec, *, consumer: AIOKafkaConsumer, membership: KafkaMembership
    ) -> None:
        self._spec = spec
        self._consumer = consumer
        self._membership = membership
        self._metadata_bytes_max = METADATA_BYTES_MAX
        self.unreadable = 0
        """Partitions of the last `resolve` whose finished offsets could not be read."""

    async def resolve(self, partitions: Iterable[TopicPartition]) -> dict[int, Mark]:
        """The committed marks; where there is none, the start rule decides and is committed.

        Committing it keeps the promise of `latest`: records that come before the first settle are
        not skipped by a restart. Raises NotFound for a topic that has gone, aiokafka's errors.
        """
        require_topic(self._spec.topic, self._consumer.partitions_for_topic(self._spec.topic))
        committed = await self._membership.committed(partitions)
        self.unreadable = 0
        marks = {p.partition: self._mark(p, commit) for p, commit in committed.items()}
        missing = [partition for partition in partitions if partition not in committed]
        if not missing:
            return marks
        find = {
            StartAt.EARLIEST: self._consumer.beginning_offsets,
            StartAt.LATEST: self._consumer.end_offsets,
        }[self._spec.start]
        found = await find(missing)
        starts = {p.partition: Mark(position=offset) for p, offset in found.items()}
        await self.commit(starts)
        return marks | starts

    async def commit(self, marks: Mapping[int, Mark]) -> None:
        """Commit as the member that we are. Raises StaleAssignment, Unavailable, NotAllowed."""
        try:
            await self._commit(marks)
        except TooLarge:
            _log.warning("%s: the broker keeps no metadata with commits", self._spec.group_id)
            self._metadata_bytes_max = 0
            await self._commit(marks)

    async def lag(
        self, positions: Mapping[int, int], *, received: Mapping[int, int]
    ) -> dict[int, int]:
        """Records from each of `positions` to the end of the log.

        `received` is one more than the last offset that was handed out; a position that is as far
        has no lag in offsets that hold no record (compaction, transactions).
        """
        with kafka_errors("cannot measure the lag"):
            async with asyncio.timeout(LAG_TIMEOUT_S):
                ends = await self._consumer.end_offsets([self._partition(p) for p in positions])
                lag: dict[int, int] = {}
                for number, position in positions.items():
                    partition = self._partition(number)
                    if position == received.get(number):
                        position = max(position, await self._consumer.position(partition))
                    lag[number] = max(0, ends[partition] - position)
        return lag

    async def _commit(self, marks: Mapping[int, Mark]) -> None:
        bytes_max = self._metadata_bytes_max
        commits = {
            self._partition(number): OffsetAndMetadata(
                mark.position, encode(mark, bytes_max=bytes_max)
            )
            for number, mark in marks.items()
        }
        with kafka_errors(f"cannot commit to the group {self._spec.group_id}"):
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await self._consumer.commit(commits)

    def _mark(self, partition: TopicPartition, commit: OffsetAndMetadata) -> Mark:
        finished = decode(commit.offset, commit.metadata or "")
        if finished is None:
            self.unreadable += 1
            _log.warning("%s: metadata that is not ours stands with the commit", partition)
        return Mark(position=commit.offset, finished=finished or ())

    def _partition(self, number: int) -> TopicPartition:
        return TopicPartition(self._spec.topic, number)


def require_topic(topic: str, found: object) -> None:
    """Raise NotFound unless something was found of the topic."""
    if not found:
        raise NotFound(f"the topic {topic} does not exist, or its user may not describe it")
