"""`docs/delivery.md` is a contract: each of its sentences names the tests that hold it.

Below its line `## The contract` a promise is a list item or the row of a table. In a list item
every sentence ends with its tests in square brackets, in a row the last cell names them.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "delivery.md"
_BEGIN = "## The contract"
_TEST = re.compile(r"`(test_[A-Za-z0-9_]+)`")
_PROMISE = re.compile(r"[^\[\].]+?(\.(?! )[^\[\].]*)*\.\s\[`test_[^\]]+`\]\s*")
"""A sentence without another one in it, and its tests in brackets behind its full stop."""
_SEPARATOR = re.compile(r"\|[\s:|-]+\|")


@cache
def _known_tests() -> frozenset[str]:
    return frozenset(
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    )


def _items(text: str) -> list[str]:
    """The list items of a text, each on one line."""
    items: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("* "):
            items.append(line[2:])
            inside = True
        elif inside and line.startswith("  "):
            items[-1] += " " + line.strip()
        else:
            inside = False
    return items


def _rows(text: str) -> list[str]:
    """The rows of all tables of a text, without their heads."""
    lines = text.splitlines()
    return [
        line
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith("|")
        and not _SEPARATOR.fullmatch(line)
        and not _SEPARATOR.fullmatch(following)
    ]


def _unproven(item: str) -> str:
    """What is left of an item without the sentences that name their tests."""
    return _PROMISE.sub("", item).strip()


def contract() -> str:
    """The page below its line."""
    _, found, text = PAGE.read_text().partition(f"\n{_BEGIN}\n")
    assert found, f"{PAGE.name} has no line {_BEGIN!r}"
    return text


def test_every_sentence_of_the_contract_names_a_test() -> None:
    items = _items(contract())
    assert len(items) >= 20
    assert [item for item in items if _unproven(item)] == []


def test_every_row_of_the_contract_names_a_test() -> None:
    rows = _rows(contract())
    assert len(rows) >= 8
    assert [row for row in rows if not _TEST.search(row.rstrip(" |").rpartition("|")[2])] == []


def test_every_test_that_the_contract_names_exists() -> None:
    named = set(_TEST.findall(contract()))
    assert named
    assert named - _known_tests() == set()


@pytest.mark.parametrize(
    "item",
    [
        "Nothing is lost.",
        "Nothing is lost. It is kept. [`test_a`]",
        "Nothing is lost. [`test_a`] Nor is this.",
    ],
)
def test_a_sentence_without_a_test_is_found(item: str) -> None:
    assert _unproven(item)


def test_a_sentence_with_its_tests_is_no_trouble() -> None:
    assert not _unproven(
        "After 0.25 s nothing is lost. [`test_a`, `test_b`] It comes again. [`test_c`]"
    )
