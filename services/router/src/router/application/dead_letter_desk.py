"""Answers about dead letters, from the index or by a scan of a flow's own topic.

The index is common to all workers, so each answers everything. A flow's own topic belongs to the
customer and has no index: it is scanned at each question, from the newest record down, within
limits of records, bytes and time; what lies beyond is said to be cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from kernel.errors import NotFound, Unavailable

from router.application.own_topics import OwnTopics
from router.dead_letter_ports import LetterQueries, LetterTopic
from router.domain.dead_letter_mark import fold
from router.domain.dead_letter_query import LetterQuery, PageKey, page_key
from router.domain.dead_letter_record import Letter, LetterId, NotALetter, letter_of
from router.domain.delivery import Delivery

SCAN_RECORDS_MAX: Final = 10_000
SCAN_BYTES_MAX: Final = 64 * 1024 * 1024
SCAN_TIME_MAX_S: Final = 8.0
SCANS_AT_ONCE_MAX: Final = 4
GONE: Final = "There is no such dead letter: it was never there, or its topic keeps it no longer."


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterPage:
    """Newest first. `below` is where the next page begins; None: this is the last one."""

    letters: tuple[Letter, ...]
    topic: str
    below: PageKey | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeLetter:
    """A letter and the record that it is."""

    letter: Letter
    record: Delivery


class DeadLetterDesk:
    """Any number of questions at the same time; all raise Unavailable."""

    def __init__(
        self,
        *,
        index: LetterQueries,
        topic: LetterTopic,
        topic_name: str,
        own_topics: OwnTopics,
    ) -> None:
        """`topic` is the internal one; it stays the caller's to close."""
        self._index = index
        self._topic = topic
        self._topic_name = topic_name
        self._own_topics = own_topics
        self._scans = asyncio.Semaphore(SCANS_AT_ONCE_MAX)

    async def page(
        self, query: LetterQuery, *, below: PageKey | None, letters_max: int
    ) -> LetterPage:
        """Letters of the internal topic."""
        found = await self._index.page(query, below=below, letters_max=letters_max + 1)
        return _page(list(found), self._topic_name, letters_max=letters_max)

    async def count(self, query: LetterQuery) -> int:
        """How many letters of the internal topic fit."""
        return await self._index.count(query)

    async def whole(self, letter_id: LetterId) -> WholeLetter:
        """A letter of the internal topic with its record. Raises NotFound."""
        letter = await self._index.find(letter_id)
        record = None if letter is None else await self._topic.read(letter_id)
        if letter is None or record is None or record.timestamp_ms != letter.written_ms:
            raise NotFound(GONE)
        return WholeLetter(letter=letter, record=record)

    async def own_page(
        self, query: LetterQuery, *, below: PageKey | None, letters_max: int
    ) -> LetterPage:
        """Letters of the flow's own topic. Raises InvalidInput, StateForbids without one, and what
        the customer's cluster refuses."""
        found, name, truncated = await self._scan_own(query)
        rest = [letter for letter in found if below is None or page_key(letter) < below]
        rest.sort(key=page_key, reverse=True)
        return _page(rest[: letters_max + 1], name, letters_max=letters_max, truncated=truncated)

    async def own_whole(self, flow_id: str, letter_id: LetterId) -> WholeLetter:
        """A letter of the flow's own topic with its record. Raises as `own_page`, NotFound also for
        a letter of another flow."""
        async with self._scans:
            name, topic = self._own_topics.open(flow_id)
            try:
                record = await topic.read(letter_id)
            finally:
                await topic.close()
        try:
            letter = None if record is None else letter_of(record)
        except NotALetter as error:
            raise NotFound(f"That record is no dead letter: {error}") from error
        if record is None or letter is None or letter.flow_id != flow_id:
            raise NotFound(GONE)
        (letter,) = await self._as_they_are(flow_id, name, [letter])
        return WholeLetter(letter=letter, record=record)

    async def own_count(self, query: LetterQuery) -> tuple[int, bool]:
        """How many letters of the flow's own topic fit, and whether a limit ended the count. Raises
        as `own_page`."""
        found, _, truncated = await self._scan_own(query)
        return len(found), truncated

    async def _scan_own(self, query: LetterQuery) -> tuple[list[Letter], str, bool]:
        """What fits, the topic's name, and whether a limit ended the scan."""
        found: list[Letter] = []
        async with self._scans:
            name, topic = self._own_topics.open(query.flow_id)
            try:
                truncated = await self._scan(topic, name, query, found)
            finally:
                await topic.close()
        return found, name, truncated

    async def _as_they_are(
        self, flow_id: str, topic: str, letters: Sequence[Letter]
    ) -> Sequence[Letter]:
        """With what redrives have made of them."""
        if not letters:
            return letters
        marks = await self._index.own_marks(flow_id, topic, letters)
        return [
            marks[one.letter_id].put_on(one) if one.letter_id in marks else one for one in letters
        ]

    async def _scan(
        self, topic: LetterTopic, name: str, query: LetterQuery, found: list[Letter]
    ) -> bool:
        """Collect what fits; True: a limit ended it."""
        records = size_bytes = 0
        try:
            async with (
                asyncio.timeout(SCAN_TIME_MAX_S),
                aclosing(topic.backwards()) as batches,
            ):
                async for batch in batches:
                    mine = [one for one in fold(batch).letters if one.flow_id == query.flow_id]
                    now = await self._as_they_are(query.flow_id, name, mine)
                    found.extend(one for one in now if query.fits(one))
                    records += len(batch)
                    size_bytes += sum(one.size_bytes for one in batch)
                    if records >= SCAN_RECORDS_MAX or size_bytes >= SCAN_BYTES_MAX:
                        return True
        except TimeoutError as error:
            if not records:
                raise Unavailable(f"{name}: its cluster handed out nothing in time") from error
            return True
        return False


def _page(
    found: list[Letter], topic: str, *, letters_max: int, truncated: bool = False
) -> LetterPage:
    """`found` has one more than a page, if there is one more."""
    shown = tuple(found[:letters_max])
    more = len(found) > letters_max
    below = page_key(shown[-1]) if more and shown else None
    return LetterPage(letters=shown, topic=topic, below=below, truncated=truncated)
