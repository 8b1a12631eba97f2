"""Measuring one figure must not forget the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import measurement
from tests.bench.measurement import Measurement, keep, measured


def _figure(name: str, value: float) -> Measurement:
    return measured(
        name, [value, value * 1.1, value], unit="x/s", reference="ref",
        reference_values=[value * 2], packages=["pytest"],
    )  # fmt: skip


def test_a_new_figure_replaces_its_old_one_and_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "docs" / "benchmarks.md"
    page.parent.mkdir()
    page.write_text("before\n<!-- figures: begin -->\n<!-- figures: end -->\nafter\n")
    keep([_figure("a.one", 100), _figure("b.two", 200)])
    measurement.BENCH_JSON.unlink()  # as in a fresh clone
    keep([_figure("a.one", 300)])
    rows = {row["name"]: row for row in json.loads(measurement.BENCH_JSON.read_text())}
    assert (rows["a.one"]["value"], rows["b.two"]["value"]) == (300, 200)
    text = page.read_text()
    assert "| `a.one` | 300 |" in text
    assert "| `b.two` | 200 |" in text
    assert text.startswith("before")
    assert text.endswith("after\n")


def test_a_ratio_is_of_medians_and_a_spread_of_all_runs() -> None:
    figure = measured(
        "n", [90, 100, 120], unit="x", reference="r", reference_values=[50, 40, 60], packages=[]
    )
    assert (figure.value, figure.ratio, figure.spread, figure.runs) == (100, 2.0, 0.3, 3)
