"""What came of the records: lost, repeated, order breaks, accuracy. Pure; knows no service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from examples.demo.records import DemoRecord

ACCURACY_MIN = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One record of the result topic, in the order in which it was read from its partition."""

    key: bytes
    number: int
    digit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of the records. An order break: among the first occurrences of the records of a
    key, a number lower than one seen before."""

    records_in: int
    results_out: int
    lost: int
    repeated: int
    order_breaks: int
    accuracy: float

    @property
    def passed(self) -> bool:
        """Nothing lost, no order broken, and the answers are mostly right."""
        return self.lost == 0 and self.order_breaks == 0 and self.accuracy >= ACCURACY_MIN


def judge(records: Sequence[DemoRecord], results: Iterable[Result]) -> Verdict:
    """Compare what was sent with what arrived."""
    truth = {record.number: record for record in records}
    seen: set[int] = set()
    newest: dict[bytes, int] = {}
    total = right = breaks = 0
    for result in results:
        total += 1
        if result.number in seen:
            continue
        seen.add(result.number)
        right += truth[result.number].digit == result.digit
        if result.number < newest.get(result.key, -1):
            breaks += 1
        newest[result.key] = max(result.number, newest.get(result.key, -1))
    return Verdict(
        records_in=len(truth),
        results_out=total,
        lost=len(truth) - len(seen),
        repeated=total - len(seen),
        order_breaks=breaks,
        accuracy=right / len(seen) if seen else 0.0,
    )
