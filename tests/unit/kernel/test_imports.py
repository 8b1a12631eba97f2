"""The kernel imports the standard library only."""

import ast
import sys
from pathlib import Path

import kernel

FILES = sorted(Path(next(iter(kernel.__path__))).rglob("*.py"))


def imported(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_the_kernel_imports_the_standard_library_only() -> None:
    assert len(FILES) > 2
    names = {name for file in FILES for name in imported(file.read_text(encoding="utf-8"))}
    assert "kernel" not in sys.stdlib_module_names
    assert names <= {*sys.stdlib_module_names, "kernel"}
