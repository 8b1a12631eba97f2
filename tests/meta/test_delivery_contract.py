"""`docs/delivery.md` is a contract: what it promises names the tests that hold it.

Below its line `## The contract` a promise is a list item or the row of a table. In a list item
every sentence ends with its tests in square brackets, in a row the last cell names them; a
paragraph is proven as one above the line.

Above that line, in every section, each paragraph and list item is made of groups: up to
`SHARED_MAX` sentences, and the bracket that they share. There a bracket may also name a document,
or `make chaos`, for what is measured or decided and not tested. Rows name a test as below. What
stands before the first section explains, and so do code and a paragraph that ends in a colon.

The price: a bracket is believed. That its tests hold all of its sentences is for a reader to see.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "delivery.md"
SHARED_MAX = 2
_BEGIN = "## The contract"
_TEST = re.compile(r"`(test_[A-Za-z0-9_]+)`")
_PROMISE = re.compile(r"[^\[\].]+?(\.(?! )[^\[\].]*)*\.\s\[`test_[^\]]+`\]\s*")
"""A sentence without another one in it, and its tests in brackets behind its full stop."""
_SEPARATOR = re.compile(r"\|[\s:|-]+\|")
_CODE = re.compile(r"^```.*?^```\n", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\[\]]+\]\(([^()]+)\)")
_SENTENCE_END = re.compile(r"[.?!]\**(?=\s|$)")
_PROOF = r"(?:`test_[A-Za-z0-9_]+`|`make chaos`|<[^<>]+>)"
_GROUP = re.compile(rf"([^\[\]]+[.?!]\**)\s\[{_PROOF}(?:,\s{_PROOF})*\]\s*")
"""Sentences, and the bracket that they share; links are written as `<address>`."""


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


def _paragraphs(text: str) -> list[str]:
    """What is no heading, table, list or code, each on one line."""
    paragraphs: list[str] = []
    inside = ""
    for line in _CODE.sub("\n", text).splitlines():
        if not line.strip() or line.startswith(("#", "|")):
            inside = ""
        elif line.startswith("* ") or (inside == "item" and line.startswith("  ")):
            inside = "item"
        elif inside == "paragraph":
            paragraphs[-1] += f" {line.strip()}"
        else:
            inside = "paragraph"
            paragraphs.append(line.strip())
    return paragraphs


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


def _unproven_rows(text: str) -> list[str]:
    return [row for row in _rows(text) if not _TEST.search(row.rstrip(" |").rpartition("|")[2])]


def _unproven(item: str) -> str:
    """What is left of an item without the sentences that name their tests."""
    return _PROMISE.sub("", item).strip()


def _unshared(block: str) -> str:
    """What is left of a block without the groups of sentences that name what holds them."""
    return _GROUP.sub(_kept_if_too_long, _LINK.sub(r"<\1>", block)).strip()


def _kept_if_too_long(group: re.Match[str]) -> str:
    return group[0] if len(_SENTENCE_END.findall(group[1])) > SHARED_MAX else ""


def _parts() -> tuple[str, str]:
    """The page's sections above its line, and what is below it."""
    above, found, below = PAGE.read_text().partition(f"\n{_BEGIN}\n")
    assert found, f"{PAGE.name} has no line {_BEGIN!r}"
    _, found, sections = above.partition("\n## ")
    assert found, f"{PAGE.name} has no section above {_BEGIN!r}"
    return f"## {sections}", below


def contract() -> str:
    """The page below its line."""
    return _parts()[1]


def sections() -> str:
    """The page's sections above its line."""
    return _parts()[0]


def prose(text: str) -> list[str]:
    """The paragraphs and list items that promise something."""
    return [block for block in [*_paragraphs(text), *_items(text)] if not block.endswith(":")]


def test_every_sentence_of_the_contract_names_a_test() -> None:
    items = _items(contract())
    assert len(items) >= 20
    assert [item for item in items if _unproven(item)] == []


def test_every_paragraph_of_the_contract_names_what_holds_it() -> None:
    assert [left for block in _paragraphs(contract()) if (left := _unshared(block))] == []


def test_every_row_of_the_contract_names_a_test() -> None:
    assert len(_rows(contract())) >= 8
    assert _unproven_rows(contract()) == []


def test_every_sentence_above_the_contract_names_what_holds_it() -> None:
    blocks = prose(sections())
    assert len(blocks) >= 30
    assert [left for block in blocks if (left := _unshared(block))] == []


def test_every_row_above_the_contract_names_a_test() -> None:
    assert len(_rows(sections())) >= 19
    assert _unproven_rows(sections()) == []


def test_every_test_that_the_page_names_exists() -> None:
    named = set(_TEST.findall(PAGE.read_text()))
    assert named
    assert named - _known_tests() == set()


def test_every_document_that_the_page_names_exists() -> None:
    named = set(_LINK.findall(PAGE.read_text()))
    assert named
    assert [name for name in named if not (PAGE.parent / name).is_file()] == []


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


@pytest.mark.parametrize(
    "block",
    [
        "Nothing is lost.",
        "Nothing is lost. [`test_a`] Nor is this.",
        "Nothing is lost [`test_a`]",
        "Nothing is lost. [a test]",
        "Nothing is lost. [see](adr/0010.md)",
        "One. Two. Three. [`test_a`]",
    ],
)
def test_above_the_contract_a_sentence_without_what_holds_it_is_found(block: str) -> None:
    assert _unshared(block)


def test_above_the_contract_two_sentences_may_share_a_bracket() -> None:
    assert not _unshared(
        "**One.** Two, after 0.2 s. [`test_a`, [ADR 0010](adr/0010.md)] Three. [`make chaos`]"
    )


@pytest.mark.parametrize("planted", ["\n{}", "{}", "\n* {}", "## More\n{}"])
def test_a_sentence_that_is_planted_in_any_section_is_found(planted: str) -> None:
    for section in sections().split("\n## ")[1:]:
        text = f"## {section}\n{planted.format('It never sleeps.')}\n"
        left = [left for block in prose(text) if (left := _unshared(block))]
        assert left == ["It never sleeps."]


def test_a_row_that_is_planted_in_any_section_is_found() -> None:
    for section in sections().split("\n## ")[1:]:
        assert _unproven_rows(f"## {section}\n| Sleep | never |\n") == ["| Sleep | never |"]
