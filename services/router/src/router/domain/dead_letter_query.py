"""Which dead letters somebody asks for, and where the next page begins. Pure."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TypeAlias

from catalog.events import DeadLetterSelection, FailureClass
from kernel.errors import InvalidInput

from router.domain.dead_letter_record import (
    BIGINT_MAX,
    INT_MAX,
    Letter,
    LetterId,
    LetterState,
    hash_of_key,
)
from router.domain.outcome import OutcomeKind

LETTER_IDS_MAX: Final = 1_000
PARTITIONS_MAX: Final = 1_000
TOKEN_CHARACTERS_MAX: Final = 256

PageKey: TypeAlias = tuple[datetime, int, int]
"""Given up, partition and offset of the letter: pages go down from here."""
SourceKey: TypeAlias = tuple[str, int, int, int, int]
"""The original's coordinates, then the letter's: work goes up from here."""

EVERYTHING: Final = DeadLetterSelection()


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterQuery:
    """Letters of a flow (empty: of all) that fit the selection and are in one of these states.

    `given_up_before` keeps out of a purge what died after its request, and `not_born_in` (a task's
    id) what dies in a redrive out of it.
    """

    flow_id: str = ""
    selection: DeadLetterSelection = EVERYTHING
    states: frozenset[LetterState] = field(default=frozenset({LetterState.OPEN}))
    given_up_before: datetime | None = None
    not_born_in: str = ""

    @property
    def until(self) -> datetime | None:
        """Exclusive; None: no end."""
        ends = [end for end in (self.selection.until, self.given_up_before) if end is not None]
        return min(ends, default=None)

    @property
    def failure(self) -> OutcomeKind | None:
        """None: every class."""
        return kind_of(self.selection.failure)

    @property
    def key_hash(self) -> bytes | None:
        """None: every key."""
        return hash_of_key(self.selection.record_key) if self.selection.record_key else None

    @property
    def offsets(self) -> tuple[int, int] | None:
        """First and last offset of the source; None: all."""
        first, last = self.selection.offset_first, self.selection.offset_last
        return None if (first, last) == (0, 0) else (first, last)

    @property
    def letter_ids(self) -> tuple[LetterId, ...]:
        """Exactly these; empty: all. Raises InvalidInput for what is no id."""
        return tuple(parsed_id(text) for text in self.selection.letter_ids)

    def checked(self) -> LetterQuery:
        """Itself. Raises InvalidInput for a selection that cannot be meant."""
        selection = self.selection
        if len(selection.letter_ids) > LETTER_IDS_MAX or len(selection.partitions) > PARTITIONS_MAX:
            raise InvalidInput(f"Name at most {LETTER_IDS_MAX} letters or partitions at once.")
        if min(selection.offset_first, selection.offset_last, *selection.partitions, 0) < 0:
            raise InvalidInput("An offset or a partition is not negative.")
        if self.offsets is not None and selection.offset_last < selection.offset_first:
            raise InvalidInput("offset_last is below offset_first.")
        if selection.since and selection.until and selection.since >= selection.until:
            raise InvalidInput("since must be before until.")
        for word in (self.flow_id, selection.topic, selection.error_type):
            if "\0" in word:
                raise InvalidInput("A word of a selection holds no NUL.")
        _ = self.letter_ids, self.failure
        return self

    def fits(self, letter: Letter) -> bool:
        """Is it one of those?"""
        wanted, since = self.selection, self.selection.since
        return (
            self.flow_id in ("", letter.flow_id)
            and letter.state in self.states
            and (since is None or letter.given_up_time >= since)
            and (self.until is None or letter.given_up_time < self.until)
            and self.failure in (None, letter.failure)
            and wanted.error_type in ("", letter.error_type)
            and self.key_hash in (None, letter.key_hash)
            and wanted.topic in ("", letter.topic)
            and (not wanted.partitions or letter.source_partition in wanted.partitions)
            and (self.offsets is None or _within(letter.source_offset, self.offsets))
            and (not wanted.letter_ids or letter.letter_id in _ids_of(wanted.letter_ids))
            and (not self.not_born_in or letter.born_in_task != self.not_born_in)
        )


@lru_cache(maxsize=16)
def _ids_of(texts: tuple[str, ...]) -> frozenset[LetterId]:
    """Parsed once: a scan asks it of each letter of a topic."""
    return frozenset(map(parsed_id, texts))


def page_key(letter: Letter) -> PageKey:
    """Where the page after this letter begins."""
    return (letter.given_up_time, letter.letter_id.partition, letter.letter_id.offset)


def source_key(letter: Letter) -> SourceKey:
    """The order in which letters are worked on: a key's records keep theirs."""
    own = letter.letter_id
    coordinates = (letter.topic, letter.source_partition, letter.source_offset)
    return (*coordinates, own.partition, own.offset)


def kind_of(failure: FailureClass) -> OutcomeKind | None:
    """The class by the router's word; None for UNSPECIFIED. Raises InvalidInput."""
    if failure is FailureClass.UNSPECIFIED:
        return None
    try:
        return OutcomeKind[FailureClass(failure).name]
    except (KeyError, ValueError) as error:
        raise InvalidInput("This class of failure is not known.") from error


def parsed_id(text: str) -> LetterId:
    """A letter's id. Raises InvalidInput."""
    try:
        return LetterId.parse(text)
    except ValueError as error:
        raise InvalidInput("A letter id is <partition>-<offset>, such as 3-1041.") from error


def token_of(key: PageKey) -> str:
    """The page key as a text that nobody needs to understand."""
    content = [key[0].astimezone(UTC).isoformat(), key[1], key[2]]
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode("ascii")


def key_of_token(token: str) -> PageKey | None:
    """None for the first page. Raises InvalidInput for what `token_of` did not make."""
    if not token:
        return None
    try:
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise ValueError("too long")
        time, partition, offset = json.loads(base64.urlsafe_b64decode(token.encode("ascii")))
        key = (datetime.fromisoformat(time).astimezone(UTC), int(partition), int(offset))
        if not (0 <= key[1] <= INT_MAX and 0 <= key[2] <= BIGINT_MAX):
            raise ValueError("out of range")
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(
            "The page token is not one of ours: begin with the first page."
        ) from error
    return key


def _within(offset: int, offsets: tuple[int, int]) -> bool:
    return offsets[0] <= offset <= offsets[1]
