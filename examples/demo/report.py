"""The table at the end of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from examples.demo.verdict import ACCURACY_MIN, Verdict


@dataclass(slots=True, kw_only=True)
class Facts:
    """What was measured. `latencies_s`, sorted: from when a record was due to its arrival."""

    takeover_s: float
    records_per_s: float
    latencies_s: Sequence[float] = field(default_factory=list)
    runs: int = 0
    verdict: Verdict | None = None
    events: int = 0
    chain: str = "not verified"

    @property
    def passed(self) -> bool:
        """The verdict is good and the log's chain holds."""
        return self.verdict is not None and self.verdict.passed and self.chain == "verified"


def quantile_ms(ordered_s: Sequence[float], share: float) -> str:
    """The value below which `share` of a sorted sequence lies (nearest rank), as text."""
    if not ordered_s:
        return "not measured"
    return f"{ordered_s[min(len(ordered_s) - 1, int(share * len(ordered_s)))] * 1e3:.0f} ms"


def print_report(console: Console, facts: Facts) -> None:
    """Print what came of the story, line by line."""
    verdict = facts.verdict
    assert verdict is not None
    table = Table(title="images → digits → labels", show_header=False, title_style="bold")
    for name, value, good in (
        ("records in", f"{verdict.records_in:,}", True),
        ("runs of the algorithm", f"{facts.runs:,}", True),
        ("results out", f"{verdict.results_out:,}", True),
        ("lost", str(verdict.lost), verdict.lost == 0),
        ("repeated", f"{verdict.repeated} (after the kill; allowed)", True),
        ("order breaks", str(verdict.order_breaks), verdict.order_breaks == 0),
        ("records/s", f"{facts.records_per_s:,.0f} (without the take-over)", True),
        ("take-over after SIGKILL", f"{facts.takeover_s:.1f} s", True),
        ("latency at 100 records/s, p50", quantile_ms(facts.latencies_s, 0.5), True),
        (
            "latency at 100 records/s, p99",
            quantile_ms(facts.latencies_s, 0.99),
            True,
        ),
        ("accuracy", f"{verdict.accuracy:.1%}", verdict.accuracy >= ACCURACY_MIN),
        ("events in the log", str(facts.events), True),
        ("hash chain of the log", facts.chain, facts.chain == "verified"),
    ):
        table.add_row(name, value if good else f"[bold red]{value}[/]")
    console.print(table)
    console.print("[bold green]passed[/]" if facts.passed else "[bold red]failed[/]")
