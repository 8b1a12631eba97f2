"""What the dead letter tasks of a worker have done since it began, for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from router.domain.dead_letter_record import LetterState
from router.domain.outcome import Outcome, OutcomeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTotals:
    """`attempts` of redrives that ended, by outcome; `letters` that were settled, by their state
    now; `in_flight`: attempts that go on; `tasks` by the word for what they do."""

    attempts: Mapping[OutcomeKind, int] = field(default_factory=dict)
    letters: Mapping[LetterState, int] = field(default_factory=dict)
    in_flight: int = 0
    tasks: Mapping[str, int] = field(default_factory=dict)


class TaskFigures:
    """Only ever added to, but for what is in flight. Every method is instant."""

    def __init__(self) -> None:
        self._attempts: Counter[OutcomeKind] = Counter()
        self._letters: Counter[LetterState] = Counter()
        self._in_flight = 0

    def attempt_began(self) -> None:
        """It ends by `attempt_ended`, whatever comes of it."""
        self._in_flight += 1

    def attempt_ended(self, outcome: Outcome | None) -> None:
        """None: it was broken off."""
        self._in_flight -= 1
        if outcome is not None:
            self._attempts[outcome.kind] += 1

    def settled(self, state: LetterState) -> None:
        """A letter has got its mark."""
        self._letters[state] += 1

    def totals(self, tasks: Mapping[str, int]) -> TaskTotals:
        """A copy, with how many tasks do what now."""
        return TaskTotals(
            attempts=dict(self._attempts),
            letters=dict(self._letters),
            in_flight=self._in_flight,
            tasks=dict(tasks),
        )
