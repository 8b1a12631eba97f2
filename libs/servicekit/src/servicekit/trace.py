"""W3C trace context: the `traceparent` header, parsed and made.

Pure: random bytes come in as an argument (`secrets.token_bytes`, or a seeded one in tests).
Source: https://www.w3.org/TR/trace-context/ sections 3.2 and 4. The price of being this small:
`tracestate` is not carried.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
SAMPLED = 0x01
TRACEPARENT_CHARACTERS_MAX = 256
"""Later versions may append fields; we read no more than this of them."""

_FIELDS = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_RESERVED_VERSION = "ff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traceparent:
    """One place in a distributed trace. `str()` gives the header's value, version 00."""

    trace_id: str
    """32 lower-case hex digits, not all zero."""
    span_id: str
    """16 lower-case hex digits, not all zero; `parent-id` in the specification."""
    flags: int = SAMPLED

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def parse_traceparent(header: str | None) -> Traceparent | None:
    """The header's meaning, or None when it is absent or malformed: then start a new trace.

    Versions after 00 are read as 00 (specification section 3.2.4); of the flags only `sampled` is
    kept.
    """
    if header is None or len(header) > TRACEPARENT_CHARACTERS_MAX:
        return None
    found = _FIELDS.fullmatch(header.strip())
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == _RESERVED_VERSION or (version == "00" and more is not None):
        return None
    if not int(trace_id, 16) or not int(span_id, 16):
        return None
    return Traceparent(trace_id=trace_id, span_id=span_id, flags=int(flags, 16) & SAMPLED)


def new_traceparent(random_bytes: Callable[[int], bytes]) -> Traceparent:
    """The start of a new, sampled trace."""
    return Traceparent(
        trace_id=_identifier(TRACE_ID_BYTES, random_bytes),
        span_id=_identifier(SPAN_ID_BYTES, random_bytes),
    )


def child_of(parent: Traceparent, random_bytes: Callable[[int], bytes]) -> Traceparent:
    """A step below `parent`: the same trace and flags, a span id of its own."""
    return replace(parent, span_id=_identifier(SPAN_ID_BYTES, random_bytes))


def _identifier(size_bytes: int, random_bytes: Callable[[int], bytes]) -> str:
    """Hex digits that are not all zero, which the specification calls invalid."""
    number = int.from_bytes(random_bytes(size_bytes))
    return f"{number or 1:0{2 * size_bytes}x}"
