"""The README's table of settings is what the code reads; child files need nothing of ours."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
import runner
from runner.settings import RunnerSettings
from servicekit.settings import describe_settings

SOURCE = Path(runner.__file__).parent
README = SOURCE.parents[1] / "README.md"


def test_the_readme_lists_every_setting_with_its_meaning_and_default() -> None:
    text = README.read_text()
    for row in describe_settings(RunnerSettings):
        assert f"| `{row.variable}` | {row.meaning} | {row.default} |" in text, row.variable


def test_the_readme_lists_no_setting_that_is_not_read() -> None:
    known = {row.variable for row in describe_settings(RunnerSettings)}
    lines = README.read_text().splitlines()
    assert {line.split("`")[1] for line in lines if line.startswith("| `EVENT")} == known


@pytest.mark.parametrize("name", ["adk_child.py", "limited_exec.py"])
def test_what_runs_in_children_is_standard_library_only(name: str) -> None:
    tree = ast.parse((SOURCE / "adapters" / name).read_text())
    imported = {word.split(".")[0] for node in ast.walk(tree) for word in _names(node)}
    assert imported <= sys.stdlib_module_names


def test_what_runs_in_an_algorithms_environment_is_python_3_8() -> None:
    ast.parse((SOURCE / "adapters" / "adk_child.py").read_text(), feature_version=(3, 8))


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return []
