"""What has become of letters: *marks*, and the fold of our internal topic into an index. Pure.

A mark is a record of our internal topic that changes what has become of a letter of the same
partition before it. So everything that is known of a letter stands in the topic, and an index over
it is a fold that can be made again:

    open ──mark redriven──▶ redriven      a redrive of it succeeded
      ├───mark died_again──▶ died_again   a redrive of it ended as a letter of the next generation
      └───mark purged──────▶ purged       nobody shall see it again

The first mark counts; later ones change nothing, so marks may be repeated.

| Header of a mark | Content |
| --- | --- |
| `ef-dl-mark` | the new state |
| `ef-dl-letter` | id of the letter, `<partition>-<offset>` |
| `ef-dl-task` | id of the task that did it |

A letter in a flow's own topic has its mark here too: that topic is the customer's, and nothing of
ours but letters is written there. Such an *own mark* names all that tells the letter from others:

| Header of an own mark | Content |
| --- | --- |
| `ef-dl-own-mark` | the new state |
| `ef-dl-own-flow`, `ef-dl-own-topic`, `ef-dl-own-letter` | flow, topic and id of the letter |
| `ef-dl-own-written-ms` | timestamp of the letter's record: a topic made anew has other letters |
| `ef-dl-task` | id of the task that did it |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from router.domain.dead_letter import HEADER_PREFIX
from router.domain.dead_letter_record import (
    Letter,
    LetterId,
    LetterState,
    NotALetter,
    facts_of,
    letter_of,
    reading,
    time_ms_of,
    word_of,
)
from router.domain.delivery import Delivery, Headers

_MARK: Final = HEADER_PREFIX + "mark"
_OWN_MARK: Final = HEADER_PREFIX + "own-mark"


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterMark:
    """A change of a letter's state; `at` is when it was written."""

    letter_id: LetterId
    state: LetterState
    task_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMark:
    """The same of a letter in a flow's own topic."""

    flow_id: str
    topic: str
    letter_id: LetterId
    written_ms: int
    state: LetterState
    task_id: str
    at: datetime

    def put_on(self, letter: Letter) -> Letter:
        """The letter as it is now."""
        return replace(letter, state=self.state, state_time=self.at, task_id=self.task_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What a run of records of one partition adds to the index, in their order."""

    letters: tuple[Letter, ...]
    marks: tuple[LetterMark, ...]
    own_marks: tuple[OwnMark, ...] = ()
    unreadable: tuple[tuple[int, str], ...] = ()
    """Offsets of records that are none of these, with the reason."""


def fold(records: Iterable[Delivery]) -> Folded:
    """Records of one partition in rising order. Never raises: what is unreadable is listed."""
    letters: list[Letter] = []
    marks: list[LetterMark] = []
    own_marks: list[OwnMark] = []
    unreadable: list[tuple[int, str]] = []
    for record in records:
        try:
            if record.header(_OWN_MARK) is not None:
                own_marks.append(own_mark_of(record))
            elif record.header(_MARK) is not None:
                marks.append(mark_of(record))
            else:
                letters.append(letter_of(record))
        except NotALetter as error:
            unreadable.append((record.offset, str(error)))
    return Folded(
        letters=tuple(letters),
        marks=tuple(marks),
        own_marks=tuple(own_marks),
        unreadable=tuple(unreadable),
    )


def mark_of(record: Delivery) -> LetterMark:
    """The mark that a record is. Raises NotALetter, also for one that stands before its letter."""
    facts = facts_of(record.headers)
    with reading():
        mark = LetterMark(
            letter_id=LetterId.parse(facts["letter"]),
            state=_end(facts["mark"]),
            task_id=facts.get("task", ""),
            at=_written(record),
        )
    letter_id = mark.letter_id
    if letter_id.partition != record.partition or letter_id.offset >= record.offset:
        raise NotALetter(f"a mark on {letter_id}, which does not stand before it")
    return mark


def own_mark_of(record: Delivery) -> OwnMark:
    """The own mark that a record is. Raises NotALetter."""
    facts = facts_of(record.headers)
    with reading():
        return OwnMark(
            flow_id=word_of(facts["own-flow"]),
            topic=word_of(facts["own-topic"]),
            letter_id=LetterId.parse(facts["own-letter"]),
            written_ms=time_ms_of(facts["own-written-ms"]),
            state=_end(facts["own-mark"]),
            task_id=facts.get("task", ""),
            at=_written(record),
        )


def headers_of_mark(letter_id: LetterId, state: LetterState, *, task_id: str) -> Headers:
    """The headers of a mark; it belongs into the letter's partition."""
    return (
        (_MARK, state.value.encode()),
        (HEADER_PREFIX + "letter", str(letter_id).encode()),
        (HEADER_PREFIX + "task", task_id.encode()),
    )


def headers_of_own_mark(letter: Letter, state: LetterState, *, topic: str, task_id: str) -> Headers:
    """The headers of an own mark."""
    facts: Mapping[str, str] = {
        "own-mark": state.value,
        "own-flow": letter.flow_id,
        "own-topic": topic,
        "own-letter": str(letter.letter_id),
        "own-written-ms": str(letter.written_ms),
        "task": task_id,
    }
    return tuple((HEADER_PREFIX + name, text.encode()) for name, text in facts.items())


def key_of_own_mark(letter: Letter, *, topic: str) -> bytes:
    """Marks on one letter have one key, so the first of them comes first."""
    return f"{topic}/{letter.letter_id}".encode()


def _end(word: str) -> LetterState:
    state = LetterState(word)
    if state is LetterState.OPEN:
        raise ValueError("a mark cannot open a letter")
    return state


def _written(record: Delivery) -> datetime:
    return datetime.fromtimestamp(record.timestamp_ms / 1_000, UTC)
