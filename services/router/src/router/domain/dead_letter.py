"""A delivery that is given up, with its whole failure history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from router.domain.delivery import Delivery, Headers
from router.domain.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt that failed. `at` is aware UTC, when it ended."""

    attempt: int
    at: datetime
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """What is written: key and value as they came, and the headers."""

    delivery: Delivery
    headers: Headers
