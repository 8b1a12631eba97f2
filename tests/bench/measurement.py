"""One measured figure beside its reference, and how the figures are kept.

A figure means little alone on a shared machine, so each stands beside a named reference that was
measured in the same run, alternately. Both are medians; the spread is that of the value.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

BENCH_JSON = Path("build/bench.json")
BENCH_PAGE = Path("docs/benchmarks.md")
BENCH_KEPT = Path("docs/benchmarks.json")
"""The newest figures of all, committed, so that measuring one does not forget the others."""
SCALE = float(os.environ.get("SCALE", "") or 1.0)
"""Below 1: a benchmark does less, to see that it works. Such figures are shown and not kept."""
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a figure has to be. `what` names the value that is compared with the limit."""

    what: str
    value: float
    limit: float
    at_least: bool = False
    """The value has to reach the limit; else it must not pass it."""

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def told(self) -> str:
        """For the page: `CPU ÷ plain loop ≤ 0.3: 0.28, met`."""
        sign, verdict = "≥" if self.at_least else "≤", "met" if self.met else "**missed**"
        return f"{self.what} {sign} {self.limit:g}: {self.value:.3g}, {verdict}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A figure. `ratio`: value ÷ reference_value; `spread`: (highest - lowest) ÷ median."""

    name: str
    value: float
    unit: str
    reference: str
    reference_value: float
    ratio: float
    runs: int
    spread: float
    versions: dict[str, str]
    date: str
    notes: dict[str, float | str] = field(default_factory=dict)
    aims: list[str] = field(default_factory=list)


def measured(
    name: str,
    values: Sequence[float],
    *,
    unit: str,
    reference: str,
    reference_values: Sequence[float],
    packages: Sequence[str],
    notes: dict[str, float | str] | None = None,
    aims: Sequence[Aim] = (),
) -> Measurement:
    """A measurement from the repetitions of one run."""
    value, reference_value = statistics.median(values), statistics.median(reference_values)
    return Measurement(
        name=name,
        value=round(value, 4),
        unit=unit,
        reference=reference,
        reference_value=round(reference_value, 4),
        ratio=round(value / reference_value, 4),
        runs=len(values),
        spread=round((max(values) - min(values)) / value, 4),
        versions={"python": platform.python_version()} | {p: version(p) for p in packages},
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        notes=notes or {},
        aims=[aim.told() for aim in aims],
    )


def keep(new: Sequence[Measurement]) -> None:
    """Put the figures in place of older ones of a name: build/bench.json and the page."""
    BENCH_JSON.parent.mkdir(exist_ok=True)
    rows = {row["name"]: row for row in _read(BENCH_KEPT)} | {m.name: asdict(m) for m in new}
    ordered = [rows[name] for name in sorted(rows)]
    for path in (BENCH_JSON, BENCH_KEPT):
        path.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n")
    page = BENCH_PAGE.read_text()
    before, rest = page.split(_BEGIN)
    _, after = rest.split(_END)
    BENCH_PAGE.write_text(f"{before}{_BEGIN}\n{_table(ordered)}\n{_END}{after}")


def _read(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(path.read_text()) if path.exists() else []
    return rows


def _table(rows: Sequence[dict[str, object]]) -> str:
    lines = [
        f"Machine: {_machine()}.",
        "",
        "| Figure | Value | Unit | Reference, same run | Its value | Ratio | Runs, spread | Date "
        "| Aims |",
        "| --- | ---: | --- | --- | ---: | ---: | --- | --- | --- |",
    ]
    for row in rows:
        aims = row.get("aims") or []
        assert isinstance(aims, list)
        lines.append(
            f"| `{row['name']}` | {_figure(row['value'])} | {row['unit']} | {row['reference']} "
            f"| {_figure(row['reference_value'])} | {row['ratio']:.2f} "
            f"| {row['runs']}, {row['spread']:.0%} | {row['date']} "
            f"| {'; '.join(aims)} |"
        )
    for row in rows:
        notes, versions = row["notes"], row["versions"]
        assert isinstance(notes, dict)
        assert isinstance(versions, dict)
        beside = "; ".join(f"{key}: {value}" for key, value in notes.items()) or "nothing"
        made_of = ", ".join(f"{name} {number}" for name, number in versions.items())
        lines += ["", f"`{row['name']}`, measured beside it: {beside}. Versions: {made_of}."]
    return "\n".join(lines)


def _figure(value: object) -> str:
    assert isinstance(value, int | float)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def _machine() -> str:
    models = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = models[0] if models else "CPU"
    return f"{len(models)} × {model}, {memory_gib:.0f} GiB, {platform.system()}"
