"""The glossary is a table that people can search with a finger: sorted, one row a word."""

from pathlib import Path

ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in (Path(__file__).parents[2] / "docs" / "glossary.md")
    .read_text(encoding="utf-8")
    .splitlines()
    if line.startswith("| ")
][2:]
WORDS = [row[0].removesuffix("(*ours*)").strip().casefold() for row in ROWS]


def test_the_words_are_sorted_and_each_stands_once() -> None:
    assert sorted(set(WORDS)) == WORDS


def test_every_word_has_one_sentence() -> None:
    assert len(ROWS) > 100
    assert all(len(row) == 2 and row[1].endswith(".") for row in ROWS)
