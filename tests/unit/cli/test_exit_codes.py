"""One table of exit codes: of the code, of its module's docstring and of the manual."""

from __future__ import annotations

from pathlib import Path

import kernel.errors
import pytest
from eventflows_cli import exit_codes
from kernel.errors import EventflowsError, Overloaded

MANUAL = Path(__file__).parents[3] / "docs" / "cli.md"
ERRORS = [
    kind
    for kind in vars(kernel.errors).values()
    if isinstance(kind, type) and issubclass(kind, EventflowsError)
]


def error_of(kind: type[EventflowsError]) -> EventflowsError:
    return kind("x", retry_after_s=1) if issubclass(kind, Overloaded) else kind("x")


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_a_documented_code_that_is_not_success(kind: type[EventflowsError]) -> None:
    code = exit_codes.exit_code_of(error_of(kind))
    assert code != exit_codes.DONE
    assert f"| {code} |" in (exit_codes.__doc__ or "")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (kernel.errors.TimedOut, 69),
        (kernel.errors.Unavailable, 69),
        (kernel.errors.NotAllowed, 77),
        (kernel.errors.InvalidInput, 2),
        (kernel.errors.VersionConflict, 1),
        (kernel.errors.EventflowsError, 70),
    ],
)
def test_codes_never_change(kind: type[EventflowsError], code: int) -> None:
    assert exit_codes.exit_code_of(kind("x")) == code


def test_the_manual_has_the_same_table() -> None:
    rows = [line for line in (exit_codes.__doc__ or "").splitlines() if line.startswith("| ")]
    manual = MANUAL.read_text(encoding="utf-8")
    assert len(rows) > 10
    assert [row for row in rows if row not in manual] == []
