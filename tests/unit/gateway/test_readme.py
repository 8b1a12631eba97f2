"""The README's tables are what the code reads and serves."""

from pathlib import Path

import gateway
from gateway.entrypoints.rest.app import OPERATIONS
from gateway.settings import GatewaySettings
from servicekit.settings import describe_settings

LINES = (Path(gateway.__file__).parents[2] / "README.md").read_text().splitlines()


def rows(beginning: str) -> list[str]:
    return [line for line in LINES if line.startswith(beginning)]


def test_the_readme_lists_exactly_the_settings_that_are_read() -> None:
    assert rows("| `EVENTFLOWS_") == [
        f"| `{row.variable}` | {row.meaning} | {row.default} |"
        for row in describe_settings(GatewaySettings)
    ]


def test_the_readme_lists_exactly_the_operations_that_are_served() -> None:
    listed = [line for word in ("GET", "POST", "PUT", "DELETE") for line in rows(f"| `{word} ")]
    assert sorted(listed) == sorted(
        f"| `{one.method} {one.path}` | {one.key.value} | {one.summary} |" for one in OPERATIONS
    )
