"""The letters that a task is about, one after the other, and what it does to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from router.dead_letter_ports import LetterMarks, LetterQueries, LetterTopic
from router.domain.dead_letter_query import LetterQuery, SourceKey, source_key
from router.domain.dead_letter_record import Letter, LetterId, LetterState, original_of
from router.domain.delivery import Delivery

PAGE_LETTERS: Final = 100


class TaskLetters(Protocol):
    """Of one attempt at a task: those that stood in their topic when it began, by offset and no
    clock. All methods raise EventflowsError for what may be tried again."""

    needs_proof: bool
    """May a walk over an index that seemed whole have missed some? Then one that settles none is
    the proof."""

    async def count(self) -> int:
        """How many there are to work on; LEFT_UNKNOWN where that is not known."""
        ...

    async def next(self) -> Sequence[Letter]:
        """The next ones to work on, in their order; none: these were all. An error loses none."""
        ...

    def begin_again(self) -> None:
        """Let `next` begin anew, with the same bound."""
        ...

    async def original(self, letter: Letter) -> Delivery | None:
        """What died; None: its topic keeps it no longer."""
        ...

    async def mark(self, letter: Letter, state: LetterState) -> None:
        """Return once it is durable what became of the letter. May be repeated."""
        ...

    async def close(self) -> None:
        """Give back what is held. Harmless twice."""
        ...


class IndexedLetters:
    """Those of the internal topic, as the index has them; in the order of their source."""

    needs_proof = True

    def __init__(
        self, query: LetterQuery, *, index: LetterQueries, topic: LetterTopic, marks: LetterMarks,
        task_id: str,
    ) -> None:  # fmt: skip
        self._query = query
        self._index = index
        self._topic = topic
        self._marks = marks
        self._task_id = task_id
        self._above: SourceKey | None = None
        self._ends: dict[int, int] | None = None
        """Of the topic's partitions, when this began; None: it was not looked at yet."""

    async def count(self) -> int:
        return await self._index.count(self._query)

    async def next(self) -> Sequence[Letter]:
        if self._ends is None:
            self._ends = {number: end for number, (_, end) in (await self._topic.spans()).items()}
        while found := await self._page():
            self._above = source_key(found[-1])
            if old := [one for one in found if _stands_below(one.letter_id, self._ends)]:
                return old
        return ()

    def begin_again(self) -> None:
        self._above = None

    async def original(self, letter: Letter) -> Delivery | None:
        return await original_in(self._topic, letter)

    async def mark(self, letter: Letter, state: LetterState) -> None:
        await self._marks.write(letter.letter_id, state, task_id=self._task_id)

    async def close(self) -> None:
        """The topic is everybody's."""

    async def _page(self) -> Sequence[Letter]:
        return await self._index.in_order(self._query, above=self._above, letters_max=PAGE_LETTERS)


def _stands_below(letter_id: LetterId, ends: Mapping[int, int]) -> bool:
    return letter_id.offset < ends.get(letter_id.partition, 0)


async def original_in(topic: LetterTopic, letter: Letter) -> Delivery | None:
    """What died, as a topic has it; None: it is gone, and perhaps another record is there."""
    record = await topic.read(letter.letter_id)
    if record is None or record.timestamp_ms != letter.written_ms:
        return None
    return original_of(record)
