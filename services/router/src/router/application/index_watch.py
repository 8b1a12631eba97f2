"""Does the index know what stands in the internal topic? Before that nobody can say what is open.

The index can be made again at any moment: then it lacks letters for a while, and shows as open what
has a mark that it has not read again yet. So whoever works by it asks before and after each look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from router.dead_letter_ports import LetterFold, LetterTopic
from router.ports import Clock

LOOK_S: Final = 0.2
"""Between two looks at an index that is behind."""
NOT_READ_YET: Final = "the index has not read all marks yet"

Spans: TypeAlias = Mapping[int, tuple[int, int]]
"""First offset and end of each partition."""


class IndexWatch:
    """Of one task. `says` is told what the task does, and why not. Both methods raise Unavailable
    and what else the topic raises."""

    def __init__(
        self, fold: LetterFold, topic: LetterTopic, *, says: Callable[[str, str], None],
        clock: Clock,
    ) -> None:  # fmt: skip
        self._fold = fold
        self._topic = topic
        self._says = says
        self._clock = clock

    async def caught_up(self) -> Spans:
        """Return once the index knows everything that stands in the topic now, and what that is."""
        spans = await self._topic.spans()
        while await self.lacks(spans):
            self._says("waiting", NOT_READ_YET)
            await self._clock.sleep(LOOK_S)
            spans = _still_there(spans, await self._topic.spans())
        self._says("working", "")
        return spans

    async def lacks(self, spans: Spans) -> bool:
        """Is there anything in these spans that the index does not know (any more)?"""
        read = await self._fold.positions()
        return any(
            first < end and (number not in read or read[number].next_offset < end)
            for number, (first, end) in spans.items()
        )


def _still_there(spans: Spans, now: Spans) -> Spans:
    """What a topic that was made anew, or shortened, does not have is not waited for."""
    return {
        number: (now[number][0], min(end, now[number][1]))
        for number, (_, end) in spans.items()
        if number in now
    }
