"""What the log holds, for people."""

from __future__ import annotations

from datetime import tzinfo
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from eventflows_cli.json_shapes import Json
from eventflows_cli.kinds import in_words
from eventflows_cli.views.text import amount, cell, grid, local_time, pairs

_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


def statistics(document: Json, zone: tzinfo | None) -> RenderableType:
    """The answer of `log stat`."""
    head = document["head"]
    about = {
        "head": cell(f"{head['position']}:{head['hash']}"),
        "time of the head": cell(local_time(head["time"], zone)),
        "first position": cell(document["first_position"]),
        "partitions reach to": cell(document["covered_to_position"]),
        "seals": amount(document["seals"]),
        "commands kept": amount(document["commands"]),
        "snapshots at": cell(document["snapshot_positions"]),
    }
    parts: list[RenderableType] = [pairs(about)]
    for heading, values, text in (
        ("EVENTS", document["events_of_kind"], in_words),
        ("STREAMS", document["streams_of_category"], lambda name: name.replace("_", " ")),
        ("TABLE", document["bytes_of_table"], str),
    ):
        rows = [
            (cell(text(name)), cell(size(value)) if heading == "TABLE" else amount(value))
            for name, value in values.items()
        ]
        table = grid([heading, "SIZE" if heading == "TABLE" else "COUNT"], rows)
        table.columns[1].justify = "right"
        parts += [Text(""), table]
    return Group(*parts)


def size(number: int) -> str:
    """Bytes in the largest unit (of 1,000) that leaves at least 1."""
    value = float(number)
    for unit in _UNITS:
        if value < 1_000 or unit == _UNITS[-1]:
            break
        value /= 1_000
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
