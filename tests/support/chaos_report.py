"""What a run of the fault suite came to: figures, what is wrong with them, and their table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.chaos_tap import Repeat, Sent, longest_gap_s, repeats
from tests.support.checker import Verdict

COMMITTED_WITHIN_S = 0.5
"""What ended longer ago than this was committed: the interval of 0.25 s, and as much again for the
commit itself on a machine where nine processes share two cores (0.26 s measured in all)."""
RECORDS_SHARE_MIN = 0.5
"""Of what the producer has time to send: a run with fewer has not tested what it says."""
RUNS_FEW = 20
"""Repeated at the algorithm by a few mishaps, which in a short run is more than a share allows: the
short form had 5 on a loaded machine. All that is in flight is more."""
NUMBERS_SHOWN_MAX = 10
COLUMNS = (
    ("fault", 16),
    ("strikes", 8),
    ("records", 9),
    ("letters", 9),
    ("lost", 6),
    ("order", 6),
    ("again", 7),
    ("worst", 7),
    ("runs again", 11),
    ("share", 8),
    ("results again", 14),
    ("letters again", 14),
    ("stall s", 14),
    ("end", 5),
    ("after s", 8),
)
LEGEND = """\
order: order breaks of runs and of results; again: deliveries repeated by the router, in all and
after the worst strike; runs again: runs repeated at the algorithm; results again, letters again:
beyond the first of each record; stall: longest pause of a flow after a strike, median and longest;
end: committed position = end of the topic, and how many seconds after the traffic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Runs that a strike may have repeated at the algorithm: a share of the records until the next
    strike, and, once each, those that were in flight."""

    share: float = 0.0
    in_flight: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Injury:
    """One strike, when it began, and when it killed a worker; None: it killed none.

    `commits_until_s`: when the strike before has taken away the broker that keeps the positions;
    None: it has not.
    """

    name: str
    at_s: float
    killed_s: float | None = None
    commits_until_s: float | None = None
    allows: Allowance = Allowance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is known of one pair of flows in the end."""

    verdict: Verdict
    sent: Sequence[Sent]
    runs_repeated: int
    run_order_breaks: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A row of the table. `problems`: sentences; none of them: the promises were kept."""

    fault: str
    strikes: int
    records: int
    letters: int
    lost: int
    order_breaks: int
    deliveries_repeated: int
    deliveries_repeated_worst: int
    runs_repeated: int
    results_repeated: int
    letters_repeated: int
    stalls_s: tuple[float, ...]
    uncommitted: int
    caught_up_s: float
    last: str = ""
    ended_before_kills_s: tuple[float, ...] = ()
    problems: tuple[str, ...] = field(default=())


def report(
    fault: str,
    *,
    findings: Sequence[Findings],
    records_due: float,
    in_flight_max: int,
    uncommitted: int,
    injuries: Sequence[Injury],
    stopped_s: float,
    caught_up_s: float,
    last: str = "",
) -> Report:
    """`records_due`: what the producer had time to send. `in_flight_max`: runs at the same time.
    `stopped_s`: when the traffic ended; after that nobody can tell a stall from silence."""
    records = sum(one.verdict.records for one in findings)
    runs_repeated = sum(one.runs_repeated for one in findings)
    again = [repeat for one in findings for repeat in repeats(one.sent)]
    windows = _windows(injuries, stopped_s)
    per_strike = [
        [repeat for repeat in again if since_s <= repeat.again.sent_s < until_s]
        for since_s, until_s in windows
    ]
    problems = [problem for one in findings for problem in _wrong(one)]
    if uncommitted:
        problems.append(f"{uncommitted} records lie behind the committed positions in the end")
    problems += _too_little(records, records_due)
    problems += _run_too_often(
        runs_repeated, runs_allowed(injuries, records=records, in_flight_max=in_flight_max)
    )
    for injury, repeated in zip(injuries, per_strike, strict=True):
        problems += _over_the_bound(injury, repeated)
    return Report(
        fault=fault,
        strikes=len(injuries),
        records=records,
        letters=sum(one.verdict.letters for one in findings),
        lost=sum(len(one.verdict.lost) for one in findings),
        order_breaks=sum(
            len(one.verdict.order_breaks) + len(one.run_order_breaks) for one in findings
        ),
        deliveries_repeated=len(again),
        deliveries_repeated_worst=max(map(len, per_strike), default=0),
        runs_repeated=runs_repeated,
        results_repeated=sum(one.verdict.results_repeated for one in findings),
        letters_repeated=sum(one.verdict.letters_repeated for one in findings),
        stalls_s=tuple(
            max(longest_gap_s(one.sent, since_s, min(until_s, stopped_s)) for one in findings)
            for since_s, until_s in windows
        ),
        uncommitted=uncommitted,
        caught_up_s=caught_up_s,
        last=last,
        ended_before_kills_s=tuple(
            max((_ended_before_kill_s(injury, one) for one in repeated), default=0.0)
            for injury, repeated in zip(injuries, per_strike, strict=True)
            if injury.killed_s is not None
        ),
        problems=tuple(problems),
    )


def runs_allowed(injuries: Sequence[Injury], *, records: int, in_flight_max: int) -> int:
    """How many runs all strikes together may have repeated at the algorithm. The records count as
    spread evenly over the strikes."""
    share = sum(one.allows.share for one in injuries) / max(1, len(injuries))
    in_flight = in_flight_max * sum(one.allows.in_flight for one in injuries)
    return in_flight + (max(int(share * records), RUNS_FEW) if share else 0)


def broken_off(fault: str, error: BaseException) -> Report:
    """A run that did not come to its end, which is a finding too."""
    return Report(
        fault=fault,
        strikes=0,
        records=0,
        letters=0,
        lost=0,
        order_breaks=0,
        deliveries_repeated=0,
        deliveries_repeated_worst=0,
        runs_repeated=0,
        results_repeated=0,
        letters_repeated=0,
        stalls_s=(),
        uncommitted=0,
        caught_up_s=0.0,
        problems=(f"broken off: {type(error).__name__}: {error}",),
    )


def table(reports: Sequence[Report]) -> str:
    """For people: one line a fault, then what is wrong."""
    head = "".join(f"{name:>{width}}" for name, width in COLUMNS)
    lines = [head, "-" * len(head), *map(_line, reports), "", LEGEND]
    lines += [f"last, {row.fault}: {row.last}" for row in reports if row.last]
    lines += [
        f"kills, {row.fault}: what was repeated had ended at most "
        f"{', '.join(f'{ago_s:.2f}' for ago_s in row.ended_before_kills_s)} s before them"
        for row in reports
        if row.ended_before_kills_s
    ]
    lines += [f"WRONG, {row.fault}: {problem}" for row in reports for problem in row.problems]
    return "\n".join(lines)


def _line(row: Report) -> str:
    cells = (
        row.fault,
        row.strikes,
        row.records,
        row.letters,
        row.lost,
        row.order_breaks,
        row.deliveries_repeated,
        row.deliveries_repeated_worst,
        row.runs_repeated,
        f"{row.runs_repeated / max(1, row.records):.3%}",
        row.results_repeated,
        row.letters_repeated,
        f"{statistics.median(row.stalls_s):.1f} ≤ {max(row.stalls_s):.1f}" if row.stalls_s else "",
        "yes" if row.uncommitted == 0 else "NO",
        f"{row.caught_up_s:.1f}",
    )
    return "".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True))


def _windows(injuries: Sequence[Injury], stopped_s: float) -> list[tuple[float, float]]:
    """From each strike to the next one; the last one has all that follows."""
    begins = [one.at_s for one in injuries]
    return list(zip(begins, [*begins, float("inf")][1:], strict=True))


def _wrong(one: Findings) -> list[str]:
    verdict = one.verdict
    found = {
        "lost": verdict.lost,
        "with a result and a dead letter": verdict.double_fates,
        "with the wrong fate": verdict.wrong_fates,
        "that nobody sent": verdict.unknown,
        "whose result broke the order of its key": verdict.order_breaks,
        "whose run broke the order of its key": tuple(one.run_order_breaks),
    }
    return [
        f"{len(numbers)} records {what}: {', '.join(map(str, numbers[:NUMBERS_SHOWN_MAX]))}"
        for what, numbers in found.items()
        if numbers
    ]


def _too_little(records: int, records_due: float) -> list[str]:
    if records >= RECORDS_SHARE_MIN * records_due and records > 0:
        return []
    return [
        f"only {records} records came into the sources, of {records_due:.0f} that there was time "
        "for: this run has tested too little"
    ]


def _run_too_often(runs_repeated: int, allowed: int) -> list[str]:
    if runs_repeated <= allowed:
        return []
    return [f"{runs_repeated} runs were repeated at the algorithm, and {allowed} is the most"]


def _over_the_bound(injury: Injury, repeated: Sequence[Repeat]) -> list[str]:
    """A killed worker repeats what was in flight, and what ended since the last commit that it
    could make."""
    early = [
        (ago_s, one.again.request_id)
        for one in repeated
        if (ago_s := _ended_before_kill_s(injury, one)) > COMMITTED_WITHIN_S
    ]
    return [
        f"a delivery was repeated that had ended {ago_s:.2f} s "
        f"before the worker was killed ({request_id})"
        for ago_s, request_id in early[:NUMBERS_SHOWN_MAX]
    ]


def _ended_before_kill_s(injury: Injury, repeat: Repeat) -> float:
    """Or before commits could not be made any more; 0 for what had not ended then."""
    killed_s, decided_s = injury.killed_s, repeat.decided_s
    if killed_s is None or decided_s is None:
        return 0.0
    until_s = killed_s if injury.commits_until_s is None else injury.commits_until_s
    return max(0.0, until_s - decided_s)
