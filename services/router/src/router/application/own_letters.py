"""The letters of a task that stand in a flow's own dead letter topic.

That topic has no index: it is read from its beginning to the end that stood when this worker began
with the task. What the task has done is in the marks of our internal topic, so whoever goes on
after a crash reads the topic again and passes over what has a mark. The price: so much is read
again at each change of the worker, and a mark that is older than the retention of our topic is
gone, so a letter that a customer keeps longer than that is open again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from kernel.errors import EventflowsError

from router.application.task_letters import original_in
from router.dead_letter_ports import LetterMarks, LetterQueries, LetterTopic
from router.domain.dead_letter_mark import fold
from router.domain.dead_letter_query import LetterQuery, source_key
from router.domain.dead_letter_record import Letter, LetterState
from router.domain.dead_letter_task import LEFT_UNKNOWN
from router.domain.delivery import Delivery

PORTION_LETTERS_MAX: Final = 2_000
"""Found and sorted at once, and so the letters of a flow that are in memory."""


class OwnLetters:
    """`TaskLetters`; within a portion in the order of their source, else as they stand there, which
    is that of the source for letters of one key and generation."""

    needs_proof = False
    """The index hides none: it only says which are done."""

    def __init__(
        self,
        query: LetterQuery,
        *,
        open_topic: Callable[[], tuple[str, LetterTopic]],
        index: LetterQueries,
        marks: LetterMarks,
        task_id: str,
    ) -> None:
        self._query = query
        self._open_topic = open_topic
        self._index = index
        self._marks = marks
        self._task_id = task_id
        self._name = ""
        self._scanned: LetterTopic | None = None
        self._read: LetterTopic | None = None
        """Another connection: a scan that finds nothing for long holds up no letter in work."""
        self._spans: Mapping[int, tuple[int, int]] | None = None
        """As they stood when this began; None: it was not looked at yet."""
        self._left: dict[int, tuple[int, int]] | None = None
        """Spans that are to be read still; None: all of them."""

    async def count(self) -> int:
        return LEFT_UNKNOWN

    async def next(self) -> Sequence[Letter]:
        if self._scanned is None:
            self._name, self._scanned = self._open_topic()
            _, self._read = self._open_topic()  # now: later the flow may have another one
        if self._spans is None:
            self._spans = await self._scanned.spans()
        left, found = dict(self._spans if self._left is None else self._left), list[Letter]()
        try:
            async with aclosing(self._scanned.forwards(left)) as batches:
                async for batch in batches:
                    found += await self._open_ones(batch)
                    last = batch[-1]
                    left[last.partition] = (last.offset + 1, left[last.partition][1])
                    if len(found) >= PORTION_LETTERS_MAX:
                        break
                else:
                    left = {}
        except EventflowsError:
            if not found:
                self._left = left  # what failed does not bring us back to before here
                raise
        self._left = left
        return sorted(found, key=source_key)

    def begin_again(self) -> None:
        self._left = None

    async def original(self, letter: Letter) -> Delivery | None:
        assert self._read is not None, "a letter comes from `next`"
        return await original_in(self._read, letter)

    async def mark(self, letter: Letter, state: LetterState) -> None:
        await self._marks.write_own(letter, state, topic=self._name, task_id=self._task_id)

    async def close(self) -> None:
        topics, self._scanned, self._read = (self._scanned, self._read), None, None
        for topic in topics:
            if topic is not None:
                await topic.close()

    async def _open_ones(self, batch: Sequence[Delivery]) -> list[Letter]:
        fitting = [one for one in fold(batch).letters if self._query.fits(one)]
        if not fitting:
            return []
        marked = await self._index.own_marks(self._query.flow_id, self._name, fitting)
        return [one for one in fitting if one.letter_id not in marked]
