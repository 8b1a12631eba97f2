"""Data on stdout, all else on stderr; JSON that programs can rely on."""

from __future__ import annotations

import json

import pytest
from eventflows_cli.output import Format, Output, visible
from rich.text import Text

DOCUMENT = {"items": [{"name": "Größe \x9b"}, {"name": "b"}]}


def show(format_: Format) -> None:
    Output(format_, color=False).show(
        DOCUMENT, lambda _document: Text("a table"), lines=lambda given: given["items"]
    )


def test_json_is_one_value_in_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    show(Format.JSON)
    out, err = capsys.readouterr()
    assert json.loads(out) == DOCUMENT
    assert out.isascii()
    assert err == ""


def test_jsonl_has_a_line_a_thing(capsys: pytest.CaptureFixture[str]) -> None:
    show(Format.JSONL)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == DOCUMENT["items"]


def test_a_document_without_lines_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Output(Format.JSONL, color=False).show({"a": 1}, lambda _document: Text(""))
    assert capsys.readouterr().out == '{"a":1}\n'


def test_tables_have_no_color_and_no_spaces_at_ends_where_no_terminal_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Output(Format.TABLE, color=True).draw(Text("red   ", style="bold red"))
    assert capsys.readouterr().out == "red\n"


def test_long_lines_are_not_folded_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    Output(Format.TABLE, color=True).draw(Text("x" * 1_000))
    assert capsys.readouterr().out == "x" * 1_000 + "\n"


def test_messages_and_progress_stay_off_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(Format.JSON, color=True)
    output.say("the registry is \x1b[2Jaway")
    with output.progress("working") as step:
        step(1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "the registry is \\x1b[2Jaway\n"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain ← Größe", "plain ← Größe"),
        ("two\nlines", "two\nlines"),
        ("tab\there", "tab    here"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x7f\x85\u200b\u202e", "\\x7f\\x85\\u200b\\u202e"),
    ],
)
def test_only_printable_characters_are_shown(given: str, shown: str) -> None:
    assert visible(given) == shown
