"""Which runs need not be made again: those in progress, and recent successes.

        look: nothing ──start──▶ in progress ──succeed──▶ remembered ──10 min, or no room──▶ gone
                                  ▲  ├─────succeed──▶ unwritten ──10 min, or no room────────▶ gone
                                  └──┼──start────────────┘
                                     └────────give_up───────────────────────────────────────▶ gone

*Unwritten* is a success whose completion our Kafka did not take: whoever asks again has that very
record written, as it was when the run ended, and the algorithm does not run a second time. For want
of room those that are remembered go first: somebody waits for an unwritten one.

A run that failed, timed out or was refused is never remembered: the caller repeats it because it
wants another attempt. Memory only: a restarted runner forgets, and then an algorithm may run twice.
The input's digest guards the key: the same request id with another input is the caller's mistake.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kernel.errors import InvalidInput

from runner.domain.limits import (
    REPEAT_BYTES_MAX,
    REPEAT_RESULT_BYTES_MAX,
    REPEAT_WINDOW_S,
)

R = TypeVar("R")
A = TypeVar("A")
C = TypeVar("C")

ENTRY_BYTES = 1_024
"""What an entry costs beside its answer, roughly: so that the bound on bytes is honest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """Two calls with the same key ask for the same run."""

    account_id: str
    request_id: str
    algorithm_id: str
    commit_sha: str
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowBounds:
    """How long and how much is remembered. Bytes count answers and ENTRY_BYTES each."""

    age_max_s: float = REPEAT_WINDOW_S
    bytes_max: int = REPEAT_BYTES_MAX
    answer_bytes_max: int = REPEAT_RESULT_BYTES_MAX


@dataclass(frozen=True, slots=True)
class InProgress(Generic[R]):
    """Join this run."""

    run: R


@dataclass(frozen=True, slots=True)
class Remembered(Generic[A]):
    """This is what it came to."""

    answer: A


@dataclass(frozen=True, slots=True)
class Unwritten(Generic[A, C]):
    """It came to this, and its completion is still to be written, as it stands."""

    answer: A
    completion: C


@dataclass(frozen=True, slots=True)
class _Kept(Generic[A, C]):
    digest: bytes
    known: Remembered[A] | Unwritten[A, C]
    size_bytes: int
    until_s: float


class RepeatWindow(Generic[R, A, C]):
    """`R`: a run in progress, `A`: an answer, `C`: a completion. `clock` gives seconds that never
    go back."""

    def __init__(self, clock: Callable[[], float], *, bounds: WindowBounds | None = None) -> None:
        self._clock = clock
        self._bounds = WindowBounds() if bounds is None else bounds
        self._running: dict[RunKey, tuple[bytes, R]] = {}
        # Oldest first.
        self._remembered: OrderedDict[RunKey, _Kept[A, C]] = OrderedDict()
        self._unwritten: OrderedDict[RunKey, _Kept[A, C]] = OrderedDict()
        self._bytes = 0

    @property
    def remembered(self) -> int:
        """Entries kept, unwritten ones too, and expired ones until somebody looks."""
        return len(self._remembered) + len(self._unwritten)

    @property
    def remembered_bytes(self) -> int:
        """What they hold."""
        return self._bytes

    def look(
        self, key: RunKey, digest: bytes
    ) -> InProgress[R] | Remembered[A] | Unwritten[A, C] | None:
        """What is known of this run; None: it has to be made, so `start` it.

        Raises InvalidInput when the key is known with another input.
        """
        self._drop_expired()
        if (running := self._running.get(key)) is not None:
            _same(running[0], digest)
            return InProgress(running[1])
        if (kept := self._remembered.get(key) or self._unwritten.get(key)) is not None:
            _same(kept.digest, digest)
            return kept.known
        return None

    def start(self, key: RunKey, digest: bytes, run: R) -> None:
        """The run begins, or the writing of its completion. Only after `look` said None or
        Unwritten, with nothing awaited between."""
        assert key not in self._running, "look before you start"
        self._running[key] = (digest, run)

    def succeed(self, key: RunKey, answer: A, *, size_bytes: int, unwritten: C | None) -> None:
        """It succeeded: remember the answer if it is small enough. `unwritten`: its completion, if
        one is still to be written; `size_bytes` are those of both."""
        digest, _ = self._running.pop(key)
        if (before := self._unwritten.pop(key, None)) is not None:
            self._bytes -= before.size_bytes
        if size_bytes > self._bounds.answer_bytes_max:
            return
        until_s = self._clock() + self._bounds.age_max_s
        cost_bytes = size_bytes + ENTRY_BYTES
        if unwritten is None:
            self._remembered[key] = _Kept(digest, Remembered(answer), cost_bytes, until_s)
        else:
            known = Unwritten(answer, unwritten)
            self._unwritten[key] = _Kept(digest, known, cost_bytes, until_s)
        self._bytes += cost_bytes
        while self._bytes > self._bounds.bytes_max:
            self._drop_oldest(self._remembered or self._unwritten)

    def give_up(self, key: RunKey) -> None:
        """It ended in any other way. Harmless for a key that is not in progress."""
        self._running.pop(key, None)

    def _drop_expired(self) -> None:
        now_s = self._clock()
        for kept in (self._remembered, self._unwritten):
            while kept and next(iter(kept.values())).until_s <= now_s:
                self._drop_oldest(kept)

    def _drop_oldest(self, kept: OrderedDict[RunKey, _Kept[A, C]]) -> None:
        _, dropped = kept.popitem(last=False)
        self._bytes -= dropped.size_bytes


def _same(known: bytes, digest: bytes) -> None:
    if known != digest:
        raise InvalidInput(
            "This request id was used with another input: give every run a request id of its own."
        )
