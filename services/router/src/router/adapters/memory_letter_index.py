"""The dead letters' index in memory, both halves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from kernel.errors import Unavailable, VersionConflict

from router.dead_letter_ports import LetterFigures, ReadPosition
from router.domain.dead_letter_mark import Folded, OwnMark
from router.domain.dead_letter_query import LetterQuery, PageKey, SourceKey, page_key, source_key
from router.domain.dead_letter_record import Letter, LetterId, LetterState


class MemoryLetterIndex:
    """`LetterFold` and `LetterQueries`, unless `away` names a reason why it cannot."""

    def __init__(self) -> None:
        self.letters: dict[LetterId, Letter] = {}
        self.away: str | None = None
        self._positions: dict[int, ReadPosition] = {}
        self._own: dict[tuple[str, str, LetterId, int], tuple[int, OwnMark]] = {}
        """With the partition that the mark stands in."""

    async def prepare(self) -> None:
        self._require()

    async def positions(self) -> Mapping[int, ReadPosition]:
        self._require()
        return dict(self._positions)

    async def fold(
        self, partition: int, folded: Folded, *, expected: ReadPosition | None, now: ReadPosition
    ) -> None:
        self._require_position(partition, expected)
        self._positions[partition] = now
        for letter in folded.letters:
            self.letters.setdefault(letter.letter_id, letter)
        for mark in folded.marks:
            known = self.letters.get(mark.letter_id)
            if known is not None and known.state is LetterState.OPEN:
                self.letters[mark.letter_id] = replace(
                    known, state=mark.state, state_time=mark.at, task_id=mark.task_id
                )

        for own in folded.own_marks:
            identity = (own.flow_id, own.topic, own.letter_id, own.written_ms)
            self._own.setdefault(identity, (partition, own))

    async def forget(self, partition: int, *, expected: ReadPosition) -> None:
        self._require_position(partition, expected)
        del self._positions[partition]
        self._drop(letter for letter in self._all() if letter.letter_id.partition == partition)
        self._own = {key: kept for key, kept in self._own.items() if kept[0] != partition}

    def drop(self) -> None:
        """Somebody drops the schema: all is made again from the topic."""
        self.letters.clear()
        self._positions.clear()
        self._own.clear()

    async def expire(self, partitions: Iterable[int], *, written_before: datetime) -> int:
        self._require()
        named, before_ms = set(partitions), int(written_before.timestamp() * 1_000)
        old = [key for key, (number, mark) in self._own.items()
               if number in named and mark.at < written_before]  # fmt: skip
        for key in old:
            del self._own[key]
        return len(old) + self._drop(
            letter
            for letter in self._all()
            if letter.letter_id.partition in named and letter.written_ms < before_ms
        )

    async def page(
        self, query: LetterQuery, *, below: PageKey | None, letters_max: int
    ) -> Sequence[Letter]:
        fitting = (letter for letter in self._fitting(query))
        rest = [letter for letter in fitting if below is None or page_key(letter) < below]
        return sorted(rest, key=page_key, reverse=True)[:letters_max]

    async def in_order(
        self, query: LetterQuery, *, above: SourceKey | None, letters_max: int
    ) -> Sequence[Letter]:
        fitting = (letter for letter in self._fitting(query))
        rest = [letter for letter in fitting if above is None or source_key(letter) > above]
        return sorted(rest, key=source_key)[:letters_max]

    async def find(self, letter_id: LetterId) -> Letter | None:
        self._require()
        return self.letters.get(letter_id)

    async def count(self, query: LetterQuery) -> int:
        return len(self._fitting(query))

    async def tally(self, task_id: str) -> Mapping[LetterState, int]:
        self._require()
        tally = Counter(letter.state for letter in self._all() if letter.task_id == task_id)
        tally.update(mark.state for _, mark in self._own.values() if mark.task_id == task_id)
        return tally

    async def own_marks(
        self, flow_id: str, topic: str, letters: Sequence[Letter]
    ) -> Mapping[LetterId, OwnMark]:
        self._require()
        keys = [(flow_id, topic, one.letter_id, one.written_ms) for one in letters]
        return {key[2]: self._own[key][1] for key in keys if key in self._own}

    async def figures(self, partitions: Iterable[int], *, flows_max: int) -> LetterFigures:
        named = set(partitions)
        still = [one for one in self._fitting(LetterQuery()) if one.letter_id.partition in named]
        flows = Counter(letter.flow_id for letter in sorted(still, key=lambda one: one.flow_id))
        return LetterFigures(
            open_letters=len(still),
            oldest_open=min((letter.given_up_time for letter in still), default=None),
            by_flow=dict(flows.most_common(flows_max)),
        )

    def _all(self) -> list[Letter]:
        return list(self.letters.values())

    def _fitting(self, query: LetterQuery) -> list[Letter]:
        self._require()
        return [letter for letter in self._all() if query.fits(letter)]

    def _drop(self, letters: Iterable[Letter]) -> int:
        gone = [letter.letter_id for letter in letters]
        for letter_id in gone:
            del self.letters[letter_id]
        return len(gone)

    def _require(self) -> None:
        if self.away is not None:
            raise Unavailable(self.away)

    def _require_position(self, partition: int, expected: ReadPosition | None) -> None:
        self._require()
        if self._positions.get(partition) != expected:
            raise VersionConflict(f"another worker reads partition {partition}")
