"""A delivery that is given up, kept with its whole failure history (promise 7).

A letter is a record: key and value are the original's, byte for byte; its headers are the
original's, in their order and with all repetitions, and after them ours:

| Header | Content |
| --- | --- |
| `ef-dl-flow` | id of the flow |
| `ef-dl-algorithm`, `ef-dl-version` | `owner/name` and the version that was wanted |
| `ef-dl-topic`, `ef-dl-partition`, `ef-dl-offset` | the original's coordinates in its source |
| `ef-dl-timestamp-ms` | the original's timestamp |
| `ef-dl-generation` | 0: live delivery; one more for each redrive |
| `ef-dl-class` | class of the last failure, a word of the table of retries |
| `ef-dl-reason` | the class, or a narrower word (`record_too_large`, `loop`) |
| `ef-dl-error-type`, `ef-dl-error` | the last failure in the target's words |
| `ef-dl-attempts` | how many there were |
| `ef-dl-first-at`, `ef-dl-last-at` | when the first and the last ended, ISO 8601 with a zone |
| `ef-dl-position` | place in the registry's log at which the flow's settings were read |
| `ef-dl-request-id` | id of the run, the same in all attempts |
| `ef-dl-task` | the redrive that it died in; absent for live delivery |
| `ef-dl-null-value` | `1`: the original had neither key nor value, which aiokafka cannot send |
| `ef-dl-history` | JSON list of attempts, newest last, at most 16 KiB |

Nothing that a record brings can be taken for ours: a header of its own that begins with `ef-dl-`
(or with `ef-original-`) stands behind one `ef-original-` more, and loses it at a redrive. So a
letter's `ef-dl-` headers are all of its last death, and the original comes back as it was.
"""

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
ORIGINAL_PREFIX: Final = "ef-original-"
"""In front of an original's own header whose name could be taken for ours."""
NULL_VALUE: Final = HEADER_PREFIX + "null-value"
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
        """JSON list, newest last, at most `HISTORY_BYTES_MAX`; the oldest become one line that
        counts them by class."""
        lines: deque[str] = deque()
        left_out = Counter(self.by_kind)
        size_bytes = len(json.dumps(_summary(self.first_at, _MOST))) + 2
        for attempt in reversed(self.newest):
            line = json.dumps(_entry(attempt))
            size_bytes += len(line) + 2
            if size_bytes > HISTORY_BYTES_MAX:
                break
            lines.appendleft(line)
            left_out[attempt.outcome.kind] -= 1
        if left_out.total():
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
        "generation": spec.generation,
        "class": last.outcome.kind.value,
        "reason": last.outcome.word,
        "error-type": last.outcome.error_type,
        "error": last.outcome.error,
        "attempts": history.count,
        "first-at": first_at.isoformat(),
        "last-at": last.at.isoformat(),
        "position": spec.registry_position,
        "request-id": request_id,
    }
    added = [(HEADER_PREFIX + name, _text(str(fact))) for name, fact in facts.items()]
    if delivery.key is None and delivery.value is None:
        added.append((NULL_VALUE, b"1"))
    added.append((HEADER_PREFIX + "history", history.to_json()))
    return DeadLetter(delivery=delivery, headers=(*_set_apart(delivery.headers), *added))


def died_in(letter: DeadLetter, task_id: str) -> DeadLetter:
    """The letter of a delivery whose attempts belonged to a redrive."""
    headers = (*letter.headers, (HEADER_PREFIX + "task", _text(task_id)))
    return DeadLetter(delivery=letter.delivery, headers=headers)


def original_headers(headers: Headers) -> Headers:
    """The original's own headers out of those of its letter, as they were."""
    return tuple(
        (name.removeprefix(ORIGINAL_PREFIX), value)
        for name, value in headers
        if not name.startswith(HEADER_PREFIX)
    )


def _set_apart(headers: Headers) -> Headers:
    ours = (HEADER_PREFIX, ORIGINAL_PREFIX)
    return tuple(
        (ORIGINAL_PREFIX + name if name.startswith(ours) else name, value)
        for name, value in headers
    )


def _entry(attempt: Attempt) -> dict[str, str | int]:
    return {
        "attempt": attempt.attempt,
        "at": attempt.at.isoformat(),
        "outcome": attempt.outcome.word,
        "error": attempt.outcome.error[:HISTORY_ERROR_MAX],
    }


def _summary(first_at: datetime | None, left_out: Counter[OutcomeKind]) -> dict[str, object]:
    at = first_at.isoformat() if first_at else ""
    return {
        "attempt": 1,
        "at": at,
        "outcome": "summary",
        "error": f"{left_out.total()} older attempts are left out; the first ended at the time "
        "given here",
        "left_out": {kind.value: count for kind, count in left_out.items() if count},
    }


_MOST = Counter(dict.fromkeys(OutcomeKind, 1_000_000_000))
"""More attempts than there can be: what the summary needs at most."""


def _text(text: str) -> bytes:
    """UTF-8; a lone surrogate, which JSON can carry, is replaced."""
    return text.encode("utf-8", "replace")
