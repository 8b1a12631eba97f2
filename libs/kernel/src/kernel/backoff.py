"""How long to wait before the next attempt: exponential, capped, with full jitter.

Pure: the caller brings the random number and does the waiting.
Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: of the variants
measured there, *full jitter* (`sleep = random_between(0, min(cap, base * 2 ** attempt))`) needs the
least work in total. Its price: a single wait may be close to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def delay_s(
    attempt: int,
    *,
    first_s: float,
    longest_s: float,
    random: Callable[[], float],
    factor: float = 2.0,
) -> float:
    """Seconds to wait after the failed attempt number `attempt` (1 is the first).

    Evenly spread over [0, ceiling], where the ceiling is `ceiling_s` of the same arguments.
    `random` returns a number in [0, 1), as `random.random` does.
    Raises ValueError when an argument is out of range.
    """
    ceiling = ceiling_s(attempt, first_s=first_s, longest_s=longest_s, factor=factor)
    return random() * ceiling


def ceiling_s(attempt: int, *, first_s: float, longest_s: float, factor: float = 2.0) -> float:
    """The longest wait after `attempt`: `first_s * factor ** (attempt - 1)`, at most `longest_s`.

    Raises ValueError when an argument is out of range.
    """
    if attempt < 1:
        raise ValueError(f"attempt starts at 1, got {attempt}")
    if not 0 < first_s <= longest_s < math.inf:
        raise ValueError(f"need 0 < first_s <= longest_s, got {first_s} and {longest_s}")
    if not 1 <= factor < math.inf:
        raise ValueError(f"factor must be at least 1, got {factor}")
    try:
        return min(longest_s, first_s * factor ** (attempt - 1))
    except OverflowError:  # attempt 1025 with factor 2: far above any cap
        return longest_s
