"""W3C trace context of a record: https://www.w3.org/TR/trace-context/."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

TRACEPARENT_HEADER: Final = "traceparent"
BROKEN_OFF: Final = "broken_off"
"""What stands as the outcome of an attempt that came to none."""
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(headers: Mapping[str, bytes]) -> str:
    """The record's own, or empty: what does not have the form is dropped, as the standard asks."""
    value = headers.get(TRACEPARENT_HEADER)
    return value.decode() if value and _TRACEPARENT.fullmatch(value) else ""


def is_sampled(traceparent: str) -> bool:
    """Did whoever began the trace want it to be kept? Of one that has the form."""
    return bool(int(traceparent[-2:], 16) & 1)


def is_traced(traceparent: str, *, ratio: float, chance: Callable[[], float]) -> bool:
    """Is a record with this `traceparent` to be followed? Without one (empty) `chance` decides, a
    number in [0, 1): as often as the ratio says."""
    return is_sampled(traceparent) if traceparent else chance() < ratio
