"""Which dead letters somebody means: the words of the API as a selection, and back."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final

from catalog.events import DeadLetterSelection
from kernel.errors import InvalidInput

from gateway.domain import fields
from gateway.domain.delivery import failure_class
from gateway.domain.moment import point_in_time

PARTITIONS_MAX: Final = 1_000
LETTERS_MAX: Final = 1_000
KEY_BYTES_MAX: Final = 64 * 1024
ERROR_TYPE_CHARACTERS_MAX: Final = 255
OFFSET_MAX: Final = 2**63 - 1
PARTITION_MAX: Final = 2**31 - 1
NUMBER_DIGITS_MAX: Final = 19
"""Of a number in a query: Python refuses to read some thousands, zeros too."""

_LETTER_ID = re.compile(r"\d{1,10}-\d{1,19}", re.ASCII)


def is_letter_id(value: str) -> bool:
    """Does it look like `<partition>-<offset>`?"""
    if _LETTER_ID.fullmatch(value) is None:
        return False
    partition, _, offset = value.partition("-")
    return int(partition) <= PARTITION_MAX and int(offset) <= OFFSET_MAX


def selection(
    *,
    since: str = "",
    until: str = "",
    failure: str = "",
    error_type: str = "",
    key: bytes = b"",
    topic: str = "",
    partitions: Sequence[int] = (),
    offset_first: int | None = None,
    offset_last: int | None = None,
    letters: Sequence[str] = (),
) -> DeadLetterSelection:
    """The selection behind these words; empty ones do not narrow it. Raises InvalidInput."""
    if len(error_type) > ERROR_TYPE_CHARACTERS_MAX:
        raise InvalidInput(f"error_type must have at most {ERROR_TYPE_CHARACTERS_MAX} characters")
    if len(key) > KEY_BYTES_MAX:
        raise InvalidInput(f"key must have at most {KEY_BYTES_MAX} bytes")
    first, last = _offsets(offset_first, offset_last)
    begin = point_in_time(since, field="since") if since else None
    end = point_in_time(until, field="until") if until else None
    if begin and end and begin >= end:
        raise InvalidInput("since must be before until")
    return DeadLetterSelection(
        since=begin,
        until=end,
        failure=failure_class(failure),
        error_type=error_type,
        record_key=key,
        topic=fields.topic(topic) if topic else "",
        partitions=_partitions(partitions),
        offset_first=first,
        offset_last=last,
        letter_ids=_letters(letters),
    )


def offsets_asked(chosen: DeadLetterSelection) -> tuple[int | None, int | None]:
    """First and last as they were given to `selection`, None where nothing narrows."""
    if not chosen.offset_last:
        return None, None
    last = None if chosen.offset_last == OFFSET_MAX else chosen.offset_last
    return chosen.offset_first, last


def key_bytes(key: str, key_base64: str) -> bytes:
    """A record's key from its text or its base64. Raises InvalidInput."""
    if key and key_base64:
        raise InvalidInput("key and key_base64 name the same thing: send one of them")
    try:
        return base64.b64decode(key_base64, validate=True) if key_base64 else key.encode()
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("key_base64 must be base64 (in a URL write %2B for +)") from error


def number(value: str, *, field: str) -> int | None:
    """A whole number of a query; None for an empty one. Raises InvalidInput."""
    if not value:
        return None
    digits = value.isascii() and value.isdigit() and len(value) <= NUMBER_DIGITS_MAX
    if not digits or int(value) > OFFSET_MAX:
        raise InvalidInput(f"{field} must be a whole number from 0 on")
    return int(value)


def _offsets(first: int | None, last: int | None) -> tuple[int, int]:
    if first is None and last is None:
        return 0, 0
    low, high = first or 0, OFFSET_MAX if last is None else last
    if not 0 <= low <= high <= OFFSET_MAX:
        raise InvalidInput("offset_first must be a number from 0 on, and not above offset_last")
    if not high:  # the selection's word for every offset
        raise InvalidInput("offset_last must be at least 1: name the letter of offset 0 by its id")
    return low, high


def _partitions(partitions: Sequence[int]) -> tuple[int, ...]:
    if len(partitions) > PARTITIONS_MAX:
        raise InvalidInput(f"partitions may have at most {PARTITIONS_MAX} numbers")
    if not all(0 <= one <= PARTITION_MAX for one in partitions):
        raise InvalidInput("partitions must be numbers from 0 on")
    return tuple(dict.fromkeys(partitions))


def _letters(letters: Sequence[str]) -> tuple[str, ...]:
    if len(letters) > LETTERS_MAX:
        raise InvalidInput(f"letters may have at most {LETTERS_MAX} ids")
    for one in letters:
        if not is_letter_id(one):
            raise InvalidInput("letters must be ids of dead letters, for example 3-1042")
    return tuple(dict.fromkeys(letters))
