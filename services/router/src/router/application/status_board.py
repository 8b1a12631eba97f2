"""Keeps what a pump says about itself: its state, why, since when, and its counters.

The pump tells it of every record, so what it does for one is a few additions; whatever is derived
(rates, when progress was last made) is made when somebody asks, about once a second. The price:
`last_progress` is when it was first asked after the progress.
"""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime
from enum import Enum
from typing import Final

from router.application.run_durations import RunDurations
from router.domain.lag import Lag
from router.domain.outcome import Outcome, OutcomeKind
from router.domain.rates import Rates, Totals
from router.domain.run_mode import RunMode
from router.domain.status import LAG_S_UNKNOWN, LAG_UNKNOWN, PumpState, PumpStatus
from router.ports import Clock

QUEUED: Final = "its source waits for its turn: a worker opens a few of each cluster at a time"
FAILURES_UNTIL_TROUBLE: Final = 3
"""So many platform errors in a row, without a success between them, are a state."""

_log = logging.getLogger(__name__)


class Trouble(Enum):
    """What a flow can be backing off from, the most telling first."""

    SOURCE = "source"
    FENCE = "fence"
    LOG = "log"
    SETTLE = "settle"
    DEAD_LETTERS = "dead letters"
    TARGET = "target"


class StatusBoard:
    """State and counters of one pump. Every method is instant.

    `durations` is told how long runs took; those of all pumps of a worker share one.
    """

    def __init__(
        self,
        flow_id: str,
        clock: Clock,
        *,
        instance: int = 0,
        durations: RunDurations | None = None,
    ) -> None:
        self._flow_id = flow_id
        self._instance = instance
        self._clock = clock
        self.durations = RunDurations() if durations is None else durations
        self._final: tuple[PumpState, str] | None = None
        self._queued = False
        self._started = False
        self._draining = False
        self._mode = RunMode.RUNNING
        self._stands_still = False
        self._troubles: dict[Trouble, str] = {}
        self._target_word = ""
        self._failures = 0
        self._halted_reason = ""
        self._halted_whole = False
        self._halted_keys = 0
        self._shown = (PumpState.STARTING, "")
        self._since = clock.now()
        self._last_progress: datetime | None = None
        self._progress_seen = 0
        self._rates = Rates(at_s=clock.monotonic_s())
        self._settled_total = 0
        self._dead_lettered_total = 0
        self._retries_total = 0
        self._succeeded_total = 0
        self._failed: Counter[OutcomeKind] = Counter()
        self._failed_total = 0
        self._polls_empty_total = 0
        self._source_attempts_total = 0
        self._letter_attempts_total = 0
        self._commits_total = 0
        self.commit_metadata_ignored_total = 0
        """Commits found whose metadata could not be used: promise 3 says to count them."""
        self.commit_metadata_cut_total = 0
        """Marks settled without some of their finished offsets, for want of room: the same."""
        self.expired_total = 0
        """Records of a topic of ours that were gone before they were read."""
        self.repeats_total = 0
        self.received_total = 0
        self.lag_unknown()

    # State ----------------------------------------------------------------------------------------

    def queued(self) -> None:
        """The source waits until it is its turn to be opened."""
        self._queued = True
        self._show()

    def had_its_turn(self) -> None:
        """It does not wait for it any more. Harmless twice."""
        self._queued = False
        self._show()

    def started(self) -> None:
        """The source has told us our partitions."""
        self._started = True
        self._troubles.pop(Trouble.SOURCE, None)
        self._show()

    def trouble(self, what: Trouble, reason: str) -> None:
        """Something has to be tried again."""
        self._troubles[what] = reason
        self._show()

    def well(self, what: Trouble) -> None:
        """It works again."""
        if self._troubles.pop(what, None) is not None:
            self._show()

    def steered(self, mode: RunMode, *, stands_still: bool) -> None:
        """How the flow shall run now; `stands_still`: nothing is left that has to end before."""
        self._mode, self._stands_still = mode, stands_still
        self._show()

    def halted(self, reason: str, *, keys: int, whole: bool = False) -> None:
        """A rule of the flow stopped so many keys, or the whole flow; none and not: it goes on."""
        one_more = keys > self._halted_keys or (whole and not self._halted_whole)
        self._halted_reason, self._halted_keys, self._halted_whole = reason, keys, whole
        if one_more:  # what failed waits for a person now, and for no next attempt
            self._target_answers()
        self._show()

    def draining(self) -> None:
        """Nothing more is received."""
        self._draining = True
        self._show()

    def ended(self, state: PumpState, reason: str = "") -> None:
        """Stopped or failed; the first such word stands."""
        self._final = self._final or (state, reason)
        self._show()

    def lag_measured(self, lag: Lag) -> None:
        """So much waits."""
        self.lag_records, self.lag_s = lag.records, lag.oldest_age_s
        self._receivable = lag.receivable

    def lag_unknown(self) -> None:
        """Nobody can tell how many records wait."""
        self.lag_records, self.lag_s = LAG_UNKNOWN, LAG_S_UNKNOWN
        self._receivable = 0

    # What was done --------------------------------------------------------------------------------

    def delivered(self) -> None:
        """An attempt succeeded: the target took a delivery."""
        self._succeeded_total += 1
        self._settled_total += 1
        self._failures = 0
        if self._troubles:
            self.well(Trouble.TARGET)

    def retrying(self, outcome: Outcome) -> None:
        """An attempt failed and the delivery is tried again."""
        self.failed(outcome)
        self._retries_total += 1
        self._failures += 1
        if self._failures >= FAILURES_UNTIL_TROUBLE:
            self._target_word = outcome.word
            self.trouble(Trouble.TARGET, f"{outcome.word}: {outcome.error}")

    def failed(self, outcome: Outcome) -> None:
        """An attempt failed, and what becomes of the delivery is told apart."""
        self._failed[outcome.kind] += 1
        self._failed_total += 1

    def dead_lettered(self) -> None:
        """A dead letter is durable. The target did answer, though not as one would like."""
        self._letter_attempts_total += 1
        self._settled_total += 1
        self._dead_lettered_total += 1
        self.well(Trouble.DEAD_LETTERS)
        self._target_answers()

    def not_dead_lettered(self, reason: str) -> None:
        """A dead letter could not be written and is tried again."""
        self._letter_attempts_total += 1
        self.trouble(Trouble.DEAD_LETTERS, f"dead letter not written: {reason}")

    def letter_refused(self) -> None:
        """A dead letter is too large for every topic: it waits for a person."""
        self._letter_attempts_total += 1
        self.well(Trouble.DEAD_LETTERS)
        self._target_answers()

    def source_failed(self, reason: str) -> None:
        """The source could not be opened or read, and is opened anew."""
        self._source_attempts_total += 1
        self.trouble(Trouble.SOURCE, reason)

    def found_empty(self) -> None:
        """The source had nothing to receive, and nothing is held."""
        self._polls_empty_total += 1

    def committed(self) -> None:
        """Marks that moved are settled."""
        self._commits_total += 1

    # The snapshot ---------------------------------------------------------------------------------

    def status(
        self,
        *,
        in_flight: int,
        partitions: int,
        bytes_held: int = 0,
        oldest_unsettled_s: float = 0.0,
        resting: int = 0,
        ready: int = 0,
    ) -> PumpStatus:
        """What others see."""
        state, reason = self._shown
        attempts = self._succeeded_total + self._failed_total
        at_s = self._clock.monotonic_s()
        settled_per_s, error_ratio = self._rates.look(
            Totals(at_s, self._settled_total, attempts, self._failed_total)
        )
        progress = (
            attempts
            + self._commits_total
            + self._source_attempts_total
            + self._letter_attempts_total
        )
        if progress + self._polls_empty_total != self._progress_seen:
            self._progress_seen = progress + self._polls_empty_total
            self._last_progress = self._clock.now()
        return PumpStatus(
            flow_id=self._flow_id,
            instance=self._instance,
            state=state,
            reason=reason,
            since=self._since,
            last_progress=self._last_progress,
            lag_records=self.lag_records,
            lag_s=self.lag_s,
            oldest_unsettled_s=oldest_unsettled_s,
            in_flight=in_flight,
            settled_per_s=settled_per_s,
            error_ratio=error_ratio,
            settled_total=self._settled_total,
            dead_lettered_total=self._dead_lettered_total,
            retries_total=self._retries_total,
            repeats_total=self.repeats_total,
            expired_total=self.expired_total,
            halted_keys=self._halted_keys,
            bytes_held=bytes_held,
            partitions=partitions,
            queued=self._queued,
            resting=resting,
            ready=ready,
            receivable=self._receivable,
            received_total=self.received_total,
            progress_total=progress,
            polls_empty_total=self._polls_empty_total,
            commits_total=self._commits_total,
            commit_metadata_ignored_total=self.commit_metadata_ignored_total,
            commit_metadata_cut_total=self.commit_metadata_cut_total,
            attempts={OutcomeKind.SUCCEEDED: self._succeeded_total, **self._failed},
        )

    def _target_answers(self) -> None:
        self._failures = 0
        self.well(Trouble.TARGET)

    def _show(self) -> None:
        state, reason = self._final or self._derived()
        if state is not self._shown[0]:
            self._since = self._clock.now()
            _log.info("flow %s is %s %s", self._flow_id, state.value, self._logged(reason))
        self._shown = (state, reason)

    def _logged(self, reason: str) -> str:
        """A reason without what the target said: that may quote the record, and the log is ours."""
        if reason == self._troubles.get(Trouble.TARGET):
            return self._target_word
        return "" if reason == self._halted_reason else reason

    def _derived(self) -> tuple[PumpState, str]:
        if self._draining:
            return PumpState.DRAINING, ""
        if self._mode is not RunMode.RUNNING:
            reason = self._halted_reason if self._halted_whole else ""
            return (PumpState.PAUSED if self._stands_still else PumpState.DRAINING), reason
        if self._halted_whole:
            return PumpState.HALTED, self._halted_reason
        for what in Trouble:
            if what in self._troubles:
                return PumpState.BACKING_OFF, self._troubles[what]
        if self._halted_keys:
            return PumpState.HALTED, self._halted_reason
        if self._started:
            return PumpState.RUNNING, ""
        return PumpState.STARTING, QUEUED if self._queued else ""
