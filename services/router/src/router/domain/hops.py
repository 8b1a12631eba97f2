"""How many algorithms the data of a delivery has passed through, so that a loop ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from router.domain.outcome import Outcome, OutcomeKind, failed

HOPS_HEADER: Final = "ef-hops"
HOPS_MAX: Final = 24
REASON_LOOP: Final = "loop"
_DIGITS_MAX: Final = 9


def hops_of(headers: Mapping[str, bytes]) -> int:
    """What the header says; 0 without one, or with one that is no count (anybody may write it)."""
    text = headers.get(HOPS_HEADER) or b""
    return int(text) if text.isdigit() and len(text) <= _DIGITS_MAX else 0


def loop_refusal(hops: int) -> Outcome:
    """The outcome of a delivery that would be the run after the last one allowed."""
    return failed(
        OutcomeKind.REFUSED,
        f"the data has passed through {hops} algorithms, the most allowed: do flows form a loop?",
        error_type="LoopError",
        reason=REASON_LOOP,
    )
