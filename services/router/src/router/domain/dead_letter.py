"""A delivery that is given up, kept with its whole failure history (promise 7)."""

from __future__ import annotations

import json
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from router.domain.delivery import Delivery, Headers
from router.domain.flow_spec import FlowSpec
from router.domain.outcome import Outcome, OutcomeKind

HEADER_PREFIX: Final = "ef-dl-"
HISTORY_BYTES_MAX: Final = 16 * 1024
HISTORY_ATTEMPTS_MAX: Final = 64
HISTORY_ERROR_MAX: Final = 512
"""Characters of each error in the history; the last one stands in full in `ef-dl-error`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt that failed. `at` is aware UTC, when it ended."""

    attempt: int
    at: datetime
    outcome: Outcome


@dataclass(slots=True, kw_only=True)
class History:
    """The failed attempts of one delivery: all counted, the newest kept."""

    first_at: datetime | None = None
    count: int = 0
    by_kind: Counter[OutcomeKind] = field(default_factory=Counter)
    newest: deque[Attempt] = field(default_factory=lambda: deque(maxlen=HISTORY_ATTEMPTS_MAX))

    def add(self, attempt: Attempt) -> None:
        """Remember one more failure."""
        self.first_at = self.first_at or attempt.at
        self.count += 1
        self.by_kind[attempt.outcome.kind] += 1
        self.newest.append(attempt)

    def to_json(self) -> bytes:
        """JSON list, newest last, at most `HISTORY_BYTES_MAX`; the oldest become one line."""
        lines: deque[str] = deque()
        size_bytes = len(json.dumps(_summary(self.first_at, 1_000_000_000))) + 2
        for attempt in reversed(self.newest):
            line = json.dumps(_entry(attempt))
            size_bytes += len(line) + 2
            if size_bytes > HISTORY_BYTES_MAX:
                break
            lines.appendleft(line)
        left_out = self.count - len(lines)
        if left_out:
            lines.appendleft(json.dumps(_summary(self.first_at, left_out)))
        return f"[{', '.join(lines)}]".encode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """What is written: key and value of the delivery as they came, and these headers."""

    delivery: Delivery
    headers: Headers


def dead_letter(
    spec: FlowSpec, delivery: Delivery, history: History, *, request_id: str
) -> DeadLetter:
    """The letter for a delivery whose last attempt is the newest of its history."""
    last = history.newest[-1]
    first_at = history.first_at or last.at
    facts = {
        "flow": spec.flow_id,
        "algorithm": f"{spec.algorithm.owner}/{spec.algorithm.name}",
        "version": spec.version,
        "topic": delivery.topic,
        "partition": delivery.partition,
        "offset": delivery.offset,
        "timestamp-ms": delivery.timestamp_ms,
        "reason": last.outcome.word,
        "error-type": last.outcome.error_type,
        "error": last.outcome.error,
        "attempts": history.count,
        "first-at": first_at.isoformat(),
        "last-at": last.at.isoformat(),
        "position": spec.registry_position,
        "request-id": request_id,
    }
    own = tuple(pair for pair in delivery.headers if not pair[0].startswith(HEADER_PREFIX))
    added = tuple((HEADER_PREFIX + name, _text(str(fact))) for name, fact in facts.items())
    history_header = (HEADER_PREFIX + "history", history.to_json())
    return DeadLetter(delivery=delivery, headers=(*own, *added, history_header))


def _entry(attempt: Attempt) -> dict[str, str | int]:
    return {
        "attempt": attempt.attempt,
        "at": attempt.at.isoformat(),
        "outcome": attempt.outcome.word,
        "error": attempt.outcome.error[:HISTORY_ERROR_MAX],
    }


def _summary(first_at: datetime | None, left_out: int) -> dict[str, str | int]:
    at = first_at.isoformat() if first_at else ""
    return {
        "attempt": 1,
        "at": at,
        "outcome": "summary",
        "error": f"{left_out} older attempts are left out; the first ended at the time given here",
    }


def _text(text: str) -> bytes:
    """UTF-8; a lone surrogate, which JSON can carry, is replaced."""
    return text.encode("utf-8", "replace")
