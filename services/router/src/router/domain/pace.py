"""How many calls a flow may have open while its target is in trouble. Pure.

    free ──told to come later──▶ slowed: three quarters, and more with each success
     │ ▲                            │  ▲
     │ └──── as many as ever ───────┘  └─ took it: what is open and one more, with each success
     ▼                                                                  │
    stopped ◀── ten deliveries failed, and none between succeeded    one probe
       └──────────────── a wait, longer each time, up to 5 s ──────────▲

So a target that is overloaded or away is asked by one call at a time instead of by every lane, and
when it is back the flow is at its full number after a few answers, without a rush. What is not
called meanwhile loses no attempt. A delivery that fails alone stops nobody: it is one of ten.

The price: a target of which a flow wants more than it takes refuses a call now and then, more often
the fewer it takes, and what a flow learns here it does not tell the others of the same target.
"""

from __future__ import annotations

from typing import Final

from kernel.backoff import ceiling_s

from router.domain.outcome import Outcome, OutcomeKind
from router.domain.retry_policy import RETRY_AFTER_MAX_S

AWAY_AFTER: Final = 3
"""Failures in a row that are the target's and no delivery's: a success after them is a return."""
STOP_AFTER: Final = 10
"""Different deliveries that fail in a row. With fewer lanes than that each waits for itself."""
WAIT_FIRST_S: Final = 0.2
WAIT_LONGEST_S: Final = 5.0
SLOWED_TO: Final = 0.75
STEP_FIRST: Final = 0.125
"""After a refusal a success counts as so much of one more call: one refusal in a hundred calls is
the price of finding out that a target that takes forty takes more again."""
STEP_FACTOR: Final = 1.25
"""So much more a success counts after as many of them as there may be calls, up to a whole one: a
refusal while few calls were open keeps a flow of long runs slow for minutes and not for hours."""
OF_THE_TARGET: Final = (OutcomeKind.OVERLOADED, OutcomeKind.UNREACHABLE, OutcomeKind.NO_ANSWER)


def is_targets(outcome: Outcome) -> bool:
    """Does a failure say something of the target, and nothing of the delivery?"""
    return outcome.kind in OF_THE_TARGET


class Pace:
    """The pace of one flow; it outlives assignments. `calls_open` are those at the time of the
    call, the one that is told of included."""

    __slots__ = (
        "_calls_most",
        "_failed",
        "_failures",
        "_late",
        "_probe_s",
        "_step",
        "_waits",
        "calls_max",
        "is_alert",
    )

    def __init__(self, calls_most: int) -> None:
        """`calls_most`: as many calls as the flow may ever have open."""
        self._calls_most = calls_most
        self.calls_max: float = calls_most
        """So many calls may be open now; 0: none may begin."""
        self.is_alert = False
        """Is anything to be told or asked? Not while the target takes everything."""
        self._failures = 0
        """In a row, of the target's."""
        self._failed: set[object] = set()
        """What failed in a row, `STOP_AFTER` at most."""
        self._waits = 0
        """In a row."""
        self._probe_s = 0.0
        """When the wait is over."""
        self._step = 1.0
        """What a success counts for."""
        self._late = 0
        """Calls whose end says nothing new: they began before the last slowing down."""

    def failed(
        self, outcome: Outcome, who: object, *, calls_open: int, now_s: float, chance: float
    ) -> None:
        """A call failed in one of the target's ways. `who` tells deliveries apart, `chance` from 0
        to 1 says how much of the wait counts."""
        self.is_alert = True
        self._failures += 1
        if len(self._failed) < STOP_AFTER:
            self._failed.add(who)
        is_late, self._late = self._late > 0, max(0, self._late - 1)
        asked_s = now_s + min(outcome.retry_after_s or 0.0, RETRY_AFTER_MAX_S)
        if len(self._failed) >= STOP_AFTER:
            self._stop(asked_s, now_s, chance)
        elif outcome.kind is OutcomeKind.OVERLOADED and not is_late:
            self._late = calls_open - 1
            self.calls_max = max(1.0, min(self.calls_max, calls_open) * SLOWED_TO)
            self._step = STEP_FIRST

    def broken_off(self) -> None:
        """No call is open any more: those that were tell nothing."""
        self._late = 0

    def _stop(self, asked_s: float, now_s: float, chance: float) -> None:
        """Wait; what still comes in of calls that began before makes no second wait of it."""
        if self.calls_max:
            self.calls_max = 0
            self._waits += 1
            wait_s = ceiling_s(self._waits, first_s=WAIT_FIRST_S, longest_s=WAIT_LONGEST_S)
            self._probe_s = now_s + chance * wait_s
        self._probe_s = max(self._probe_s, asked_s)

    def may_probe(self, *, calls_open: int, now_s: float) -> bool:
        """Is it stopped, and the wait over? Then one more call may begin from now on."""
        if self.calls_max or now_s < self._probe_s:
            return False
        self.calls_max = calls_open + 1
        return True

    def succeeded(self, *, calls_open: int) -> bool:
        """The target took a call. True: it had been away."""
        was_away = self._failures >= AWAY_AFTER
        self._failures = 0
        self._failed.clear()
        self._late = max(0, self._late - 1)
        if self._waits:
            self._waits = 0
            self._step = 1.0
            self.calls_max = max(self.calls_max, calls_open)
        self.calls_max += self._step
        self._step = min(1.0, self._step * STEP_FACTOR ** (1 / self.calls_max))
        if self.calls_max >= self._calls_most:
            self.calls_max = self._calls_most
            self._step = 1.0
            self.is_alert = False
        return was_away
