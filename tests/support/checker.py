"""What became of every record: judged from what stands in the topics, by independent code.

Records carry a number of their own, `{"n": 17}`. The source says which there are and in which
order, the results and dead letters what came of them; nobody is asked but the brokers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

Place = tuple[int, int]
"""Partition and offset in the source."""


class Fate(StrEnum):
    """What can become of a record."""

    RESULT = "result"
    LETTER = "dead letter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One record of a topic, in the order of its partition."""

    number: int
    key: bytes
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Numbers of records, each list sorted; all empty: nothing was lost and every order kept."""

    records: int
    results: int
    letters: int
    lost: tuple[int, ...]
    double_fates: tuple[int, ...]
    wrong_fates: tuple[int, ...]
    unknown: tuple[int, ...]
    order_breaks: tuple[int, ...]
    results_repeated: int
    letters_repeated: int

    @property
    def is_right(self) -> bool:
        """Exactly one fate for each, the right one, and in order."""
        return not (
            self.lost or self.double_fates or self.wrong_fates or self.unknown or self.order_breaks
        )


def judge(
    source: Sequence[Seen],
    results: Sequence[Seen],
    letters: Sequence[Seen],
    *,
    expected: Callable[[int], Fate],
) -> Verdict:
    """Compare the three. A number that stands in the source twice is a mistake of the test."""
    places = {one.number: (one.partition, one.offset) for one in source}
    assert len(places) == len(source), "a number stands in the source twice"
    with_result, with_letter = (Counter(one.number for one in seen) for seen in (results, letters))
    fates = with_result.keys() | with_letter.keys()
    return Verdict(
        records=len(source),
        results=len(with_result),
        letters=len(with_letter),
        lost=_sorted(places.keys() - fates),
        double_fates=_sorted(with_result.keys() & with_letter.keys()),
        wrong_fates=_sorted(
            [n for n in with_result if expected(n) is not Fate.RESULT]
            + [n for n in with_letter if expected(n) is not Fate.LETTER]
        ),
        unknown=_sorted(fates - places.keys()),
        order_breaks=order_breaks(((one.key, one.number) for one in results), places),
        results_repeated=with_result.total() - len(with_result),
        letters_repeated=with_letter.total() - len(with_letter),
    )


def order_breaks(
    occurrences: Iterable[tuple[bytes, int]], places: Mapping[int, Place]
) -> tuple[int, ...]:
    """Records that came after a later one of their key, among the first occurrences of each."""
    newest: dict[tuple[bytes, int], int] = {}
    known: set[int] = set()
    broken = []
    for key, number in occurrences:
        if number in known or number not in places:
            continue
        known.add(number)
        partition, offset = places[number]
        lane = (key, partition)
        if offset < newest.get(lane, -1):
            broken.append(number)
        newest[lane] = max(offset, newest.get(lane, -1))
    return tuple(broken)


def _sorted(numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(numbers))
