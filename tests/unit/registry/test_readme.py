"""The README says what the code does."""

from __future__ import annotations

from pathlib import Path

from registry.settings import RegistrySettings
from servicekit.settings import describe_settings

README = Path(__file__).parents[3] / "services" / "registry" / "README.md"


def test_the_table_of_settings_is_that_of_the_code() -> None:
    rows = [
        f"| `{row.variable}` | {row.meaning} | {row.default} |"
        for row in describe_settings(RegistrySettings)
    ]
    text = README.read_text()
    table = [line for line in text.splitlines() if line.startswith("| `EVENTFLOWS_REGISTRY_")]
    assert table == rows
