"""A moment of the log: what a caller asks for, and what it was resolved to.

Which moments exist is for the registry to say; here only the form is checked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from kernel.errors import InvalidInput

POSITION_MAX = 2**63 - 1

AsOf: TypeAlias = int | datetime
"""A position of the log, or an aware time."""

_POSITION = re.compile(r"\d{1,19}", re.ASCII)
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_MICROSECOND_DIGITS = 7  # with the point before them


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A position of the log, and the time of the seal that holds it."""

    position: int
    time: datetime

    def __str__(self) -> str:
        return f"position {self.position} ({exact_time(self.time)})"


def as_of(value: str, *, field: str = "as_of") -> AsOf:
    """The moment that is asked for: digits are a position, else RFC 3339. Raises InvalidInput."""
    if _POSITION.fullmatch(value) and int(value) <= POSITION_MAX:
        return int(value)
    time = _time(value)
    if time is None:
        raise InvalidInput(
            f"{field} must be a position of the log, for example 42, or a time as RFC 3339 has it, "
            f"{_EXAMPLE}"
        )
    return time


def point_in_time(value: str, *, field: str) -> datetime:
    """An aware time in UTC from RFC 3339. Raises InvalidInput."""
    time = _time(value)
    if time is None:
        raise InvalidInput(f"{field} must be a time as RFC 3339 has it, {_EXAMPLE}")
    return time


def exact_time(time: datetime) -> str:
    """RFC 3339 in UTC with the microseconds of the log, so that it may be asked for again."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


_EXAMPLE = "for example 2026-11-24T09:00:00Z (in a URL write %2B for +)"


def _time(value: str) -> datetime | None:
    match = _RFC_3339.fullmatch(value)
    if match is None:
        return None
    date, time, fraction, offset = match.groups()
    # The log counts microseconds: what is finer lies within the same one.
    text = f"{date}T{time}{(fraction or '.0')[:_MICROSECOND_DIGITS].ljust(7, '0')}"
    try:
        moment = datetime.fromisoformat(text + (offset if offset not in "Zz" else "+00:00"))
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
