"""A target in memory that answers as it is told."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable

from router.domain.delivery import Run
from router.domain.outcome import REASON_TOO_LARGE, SUCCEEDED, Outcome, OutcomeKind, failed
from router.domain.published_record import PublishedRecord, published_record

RECORD_BYTES_MAX = 24 * 1024 * 1024


class MemoryTarget:
    """Keeps every run; each is answered at once, unless its value is held back.

    `answers[value]` are the outcomes of the next runs with that value, in order; then `default`.
    `records` are what a publisher's topic would hold. While `reachable` is False nothing arrives.
    """

    def __init__(self, *, record_bytes_max: int = RECORD_BYTES_MAX) -> None:
        self.reachable = True
        self.records: list[PublishedRecord] = []
        self._record_bytes_max = record_bytes_max
        self.default: Outcome = SUCCEEDED
        self.answers: defaultdict[bytes | None, deque[Outcome]] = defaultdict(deque)
        self.runs: list[Run] = []
        self.ended: list[Run] = []
        self.at_once_max = 0
        self._at_once = 0
        self._held: set[bytes | None] = set()
        self._changed = asyncio.Condition()

    async def invoke(self, run: Run) -> Outcome:
        self._at_once += 1
        self.at_once_max = max(self.at_once_max, self._at_once)
        self.runs.append(run)
        try:
            async with self._changed:
                self._changed.notify_all()
                await self._changed.wait_for(lambda: run.delivery.value not in self._held)
                self.ended.append(run)
                self._changed.notify_all()
            outcome = self._outcome(run)
            if outcome.kind is OutcomeKind.SUCCEEDED:
                self.records.append(published_record(run))
            return outcome
        finally:
            self._at_once -= 1

    async def close(self) -> None:
        """Nothing is held."""

    def hold(self, *values: bytes) -> None:
        """Runs with these values do not end before `let_go`."""
        self._held |= set(values)

    async def let_go(self, *values: bytes) -> None:
        """Let them end."""
        async with self._changed:
            self._held -= set(values)
            self._changed.notify_all()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition on what this target keeps."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def until_runs(self, count: int) -> None:
        """Wait until so many runs have begun."""
        await self.until(lambda: len(self.runs) >= count)

    async def until_ended(self, count: int) -> None:
        """Wait until so many runs have ended."""
        await self.until(lambda: len(self.ended) >= count)

    def _outcome(self, run: Run) -> Outcome:
        if not self.reachable:
            return failed(OutcomeKind.UNREACHABLE, "nobody is there")
        if run.delivery.size_bytes > self._record_bytes_max:
            return failed(
                OutcomeKind.REFUSED,
                f"a record may have at most {self._record_bytes_max} bytes",
                error_type="RecordTooLarge",
                reason=REASON_TOO_LARGE,
            )
        answers = self.answers[run.delivery.value]
        return answers.popleft() if answers else self.default

    @property
    def values(self) -> list[bytes | None]:
        """The value of each run, in the order in which they began."""
        return [run.delivery.value for run in self.runs]
