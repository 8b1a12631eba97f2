"""What the retention of a topic of ours took before its flow had read it.

A topic of completions is ours: its flow's owner could set no offset there, and would have nothing
to gain by it. So the flow goes on with the earliest record, and says how much is gone.

Nobody waits long for it: a partition of which this cannot be told now begins where it stands, and
if its fetch fails because that is gone, this is asked again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, LeaderNotAvailableError

from router.adapters.kafka_errors import describe
from router.adapters.kafka_leader_search import NO_LEADER
from router.domain.beginning import behind_expired
from router.domain.low_water import Mark

ASK_TIMEOUT_S: Final = 2.0
"""aiokafka asks again while one of the leaders says nothing, whatever the others say."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """Where to go on with the partitions that are concerned, and how many records are gone of them.

    `unwanted` are from before the flow wanted any, as far as the first record that is left can
    tell; `lost` are all others, whether the flow would have taken them or not.
    """

    marks: Mapping[int, Mark]
    lost: int
    unwanted: int


async def find_expired(
    consumer: AIOKafkaConsumer,
    topic: str,
    marks: Mapping[int, Mark],
    *,
    wanted_since: datetime | None,
) -> Expired:
    """Ask those who lead the partitions where their records begin, within ASK_TIMEOUT_S.

    What nobody tells counts as not expired. Raises nothing.
    """
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            return await _find(consumer, topic, marks, wanted_since)
    except TimeoutError:
        reason = f"no answer within {ASK_TIMEOUT_S:g} s"
    except KafkaError as error:
        reason = describe(error)
    _log.info("%s: what expired is not known yet: %s", topic, reason)
    return Expired(marks={}, lost=0, unwanted=0)


async def have_expired(
    consumer: AIOKafkaConsumer, topic: str, positions: Mapping[int, int]
) -> bool:
    """Do the records of a partition begin behind its position?

    Raises aiokafka's errors, LeaderNotAvailableError if it may be so of one that nobody leads.
    """
    begins = await _begins(consumer, topic, positions)
    if any(positions[number] < begin for number, begin in begins.items()):
        return True
    if len(begins) < len(positions):
        raise LeaderNotAvailableError(f"partitions {sorted(positions.keys() - begins.keys())}")
    return False


async def _find(
    consumer: AIOKafkaConsumer,
    topic: str,
    marks: Mapping[int, Mark],
    wanted_since: datetime | None,
) -> Expired:
    begins = await _begins(consumer, topic, marks)
    gone = {n: begin for n, begin in begins.items() if marks[n].position < begin}
    if not gone:
        return Expired(marks={}, lost=0, unwanted=0)
    older = await _older(consumer, topic, gone, wanted_since)
    passed: dict[int, Mark] = {}
    lost = unwanted = 0
    for number, begin in gone.items():
        passed[number], count = behind_expired(marks[number], begin)
        if number in older:
            unwanted += count
        else:
            lost += count
    return Expired(marks=passed, lost=lost, unwanted=unwanted)


async def _begins(consumer: AIOKafkaConsumer, topic: str, numbers: Iterable[int]) -> dict[int, int]:
    """Of the partitions that somebody leads, by the newest that the cluster said."""
    client = consumer._client
    await client._maybe_wait_metadata()  # as aiokafka does before it picks whom to ask
    leader_of = client.cluster.leader_for_partition
    places = [TopicPartition(topic, number) for number in numbers]
    wanted = [place for place in places if leader_of(place) not in NO_LEADER]
    found = await consumer.beginning_offsets(wanted) if wanted else {}
    return {place.partition: offset for place, offset in found.items()}


async def _older(
    consumer: AIOKafkaConsumer,
    topic: str,
    begins: Mapping[int, int],
    wanted_since: datetime | None,
) -> set[int]:
    """Partitions whose earliest record is from before that time, and so all that are gone."""
    if wanted_since is None:
        return set()
    places = {TopicPartition(topic, number): begin for number, begin in begins.items()}
    at_ms = int(wanted_since.timestamp() * 1_000)
    firsts = await consumer.offsets_for_times(dict.fromkeys(places, at_ms))
    ends = await consumer.end_offsets(list(places))
    return {
        place.partition
        for place, begin in places.items()
        if (ends[place] if firsts[place] is None else firsts[place].offset) > begin
    }
