"""The small pieces of every table: times, cells, rows of names and values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

from eventflows_cli.json_shapes import time_of
from eventflows_cli.output import visible

NOTHING: Final = "-"


def local_time(time: str, zone: tzinfo | None) -> str:
    """A document's time for people, with its zone: `2026-11-24 10:30:00.123 CET`.

    `zone` None: this machine's.
    """
    local = time_of(time).astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d} {local.tzname()}"


def cell(value: object, *, style: str = "") -> Text:
    """One value in words; nothing that it holds is taken for markup or for a terminal's command."""
    return Text(visible(words(value)), style=style)


def words(value: object) -> str:
    """A value of a document in words."""
    match value:
        case None | "" | []:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(words(item) for item in value)
        case dict():
            return ", ".join(f"{key} {words(each)}" for key, each in value.items())
        case _:
            return str(value)


def amount(number: int) -> Text:
    """How many of something. Positions are not amounts: they stay as commands take them."""
    return Text(f"{number:,}")


def grid(headings: Sequence[str], rows: Iterable[Sequence[Text]]) -> Table:
    """A table with a line below its headings. An id is never folded: people copy it."""
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        header_style="bold",
    )
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading == "ID")
    for row in rows:
        table.add_row(*row)
    return table


def pairs(values: Mapping[str, Text]) -> Table:
    """Names and values, one a line."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        table.add_row(name, value)
    return table


def flat(document: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """(`a.b.0.c`, value) for every leaf of a document, in its order."""
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from flat(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            yield from flat({str(index): item for index, item in enumerate(value)}, f"{name}.")
        else:
            yield name, value
