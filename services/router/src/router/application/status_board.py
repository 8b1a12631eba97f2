"""Keeps what a pump says about itself: its state, why, since when, and its counters."""

from __future__ import annotations

import logging
from datetime import datetime
from enum import Enum
from typing import Final

from router.domain.outcome import Outcome
from router.domain.status import LAG_UNKNOWN, PumpState, PumpStatus
from router.ports import Clock

FAILURES_UNTIL_TROUBLE: Final = 3
"""So many platform errors in a row, without a success between them, are a state."""

_log = logging.getLogger(__name__)


class Trouble(Enum):
    """What a flow can be backing off from, the most telling first."""

    SOURCE = "source"
    FENCE = "fence"
    SETTLE = "settle"
    DEAD_LETTERS = "dead letters"
    TARGET = "target"


class StatusBoard:
    """State and counters of one pump. Every method is instant."""

    def __init__(self, flow_id: str, clock: Clock) -> None:
        self._flow_id = flow_id
        self._clock = clock
        self._final: tuple[PumpState, str] | None = None
        self._started = False
        self._draining = False
        self._troubles: dict[Trouble, str] = {}
        self._failures = 0
        self._shown = (PumpState.STARTING, "")
        self._since = clock.now()
        self._last_progress: datetime | None = None
        self._settled_total = 0
        self._dead_lettered_total = 0
        self._retries_total = 0
        self.lag_records = LAG_UNKNOWN

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

    def draining(self) -> None:
        """Nothing more is received."""
        self._draining = True
        self._show()

    def ended(self, state: PumpState, reason: str = "") -> None:
        """Stopped or failed; the first such word stands."""
        self._final = self._final or (state, reason)
        self._show()

    def progress(self) -> None:
        """A delivery is finished, or the source was found empty."""
        self._last_progress = self._clock.now()

    def delivered(self) -> None:
        """The target took a delivery."""
        self._settled_total += 1
        self._target_works()

    def dead_lettered(self) -> None:
        """A dead letter is durable. The target did answer, though not as one would like."""
        self._settled_total += 1
        self._dead_lettered_total += 1
        self.well(Trouble.DEAD_LETTERS)
        self._target_works()

    def retrying(self, outcome: Outcome) -> None:
        """A platform's error; the delivery is tried again."""
        self._retries_total += 1
        self._failures += 1
        if self._failures >= FAILURES_UNTIL_TROUBLE:
            self.trouble(Trouble.TARGET, f"{outcome.word}: {outcome.error}")

    def status(self, *, in_flight: int, partitions: int) -> PumpStatus:
        """The snapshot that others see."""
        state, reason = self._shown
        return PumpStatus(
            flow_id=self._flow_id,
            state=state,
            reason=reason,
            since=self._since,
            last_progress=self._last_progress,
            lag_records=self.lag_records,
            in_flight=in_flight,
            settled_total=self._settled_total,
            dead_lettered_total=self._dead_lettered_total,
            retries_total=self._retries_total,
            partitions=partitions,
        )

    def _target_works(self) -> None:
        self._failures = 0
        self.well(Trouble.TARGET)
        self.progress()

    def _show(self) -> None:
        state, reason = self._final or self._derived()
        if state is not self._shown[0]:
            self._since = self._clock.now()
            _log.info("flow %s is %s %s", self._flow_id, state.value, reason)
        self._shown = (state, reason)

    def _derived(self) -> tuple[PumpState, str]:
        if self._draining:
            return PumpState.DRAINING, ""
        for what in Trouble:
            if what in self._troubles:
                return PumpState.BACKING_OFF, self._troubles[what]
        return (PumpState.RUNNING if self._started else PumpState.STARTING), ""
