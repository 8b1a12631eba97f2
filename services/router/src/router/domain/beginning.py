"""Where a flow begins on each partition that it was given. Pure.

a commit of this topic          there
a commit without an identity    there: a person has set it, or the broker keeps no metadata
a commit of another topic       nowhere: the topic was made anew (TopicReplaced)
no commit, a position is        there, if it is one of this topic; else nowhere
  remembered by us
no commit, nothing remembered   at the earliest record, for a partition that was added after the
                                flow had begun; else by the flow's start rule

Of a topic of ours whose retention took the records at a position: at the earliest that is left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from catalog.events import StartAt

from router.domain.low_water import Mark
from router.domain.topic_identity import TopicIdentity


class Place(NamedTuple):
    """A position that was kept, with the topic that it belongs to, if that is known. A tuple for
    the same reason as its mark."""

    mark: Mark
    identity: TopicIdentity | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginnings:
    """Marks that are known, and partitions of which the broker has to be asked for an end.

    `identity` is what to keep with every position of the flow from now on. `recalled` are the
    partitions that begin where we remembered, for want of a commit.
    """

    marks: Mapping[int, Mark]
    earliest: tuple[int, ...]
    latest: tuple[int, ...]
    recalled: tuple[int, ...]
    identity: TopicIdentity


class TopicReplaced(Exception):
    """Positions belong to another topic than the one that has the name now."""


def begin(
    partitions: Collection[int],
    *,
    topic: TopicIdentity,
    commits: Mapping[int, Place],
    remembered: Mapping[int, Place],
    start: StartAt,
) -> Beginnings:
    """Decide. `commits` and `remembered` are those of all partitions, not only of the given ones.

    Raises TopicReplaced.
    """
    kept = {n: p for n, p in {**remembered, **commits}.items() if n < topic.partitions}
    for place in kept.values():
        if place.identity is not None and place.identity.is_another(topic):
            raise TopicReplaced
    first = [place.identity.partitions for place in kept.values() if place.identity is not None]
    began_with = min(first, default=0 if kept else topic.partitions)
    new = [number for number in partitions if number not in kept]
    earliest = [n for n in new if n >= began_with or start is StartAt.EARLIEST]
    return Beginnings(
        marks={number: kept[number].mark for number in partitions if number in kept},
        earliest=tuple(earliest),
        latest=tuple(number for number in new if number not in earliest),
        recalled=tuple(n for n in partitions if n in remembered and n not in commits),
        identity=TopicIdentity(topic_id=topic.topic_id, partitions=began_with or topic.partitions),
    )


def behind_expired(mark: Mark, earliest: int) -> tuple[Mark, int]:
    """The mark from which to go on where all before `earliest`, above the position, is gone; and
    how many offsets are gone that were not finished."""
    gone, position = earliest - mark.position, earliest
    finished: list[tuple[int, int]] = []
    for first, last in mark.finished:
        gone -= max(0, min(last + 1, earliest) - first)
        if first > earliest:
            finished.append((first, last))
        elif last >= earliest:
            position = last + 1
    return Mark(position=position, finished=tuple(finished)), gone
