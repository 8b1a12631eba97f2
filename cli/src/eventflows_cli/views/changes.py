"""What differs between two moments, for people: a block for each thing, a line for each field."""

from __future__ import annotations

from datetime import tzinfo
from itertools import groupby

from rich.console import Group, RenderableType
from rich.text import Text

from eventflows_cli.json_shapes import Json
from eventflows_cli.views.text import NOTHING, cell, grid, local_time


def changes(document: Json, zone: tzinfo | None) -> RenderableType:
    """The answer of `log diff`."""
    begin, end = document["from"], document["to"]
    parts: list[RenderableType] = [
        Text(f"from position {begin['position']} to {end['position']}", style="bold")
    ]
    if not document["changes"]:
        return Group(*parts, Text("nothing differs"))
    for (kind, _, name), of_thing in groupby(
        document["changes"], key=lambda change: (change["kind"], change["id"], change["name"])
    ):
        rows = [_row(change, zone) for change in of_thing]
        headings = ["FIELD", "FROM", "TO", "WHO", "WHEN", "POSITION"]
        parts += [Text(""), cell(f"{kind} {name}", style="bold"), grid(headings, rows)]
    return Group(*parts)


def _row(change: Json, zone: tzinfo | None) -> list[Text]:
    key = f" (key {change['key_label']})" if change["key_label"] else ""
    return [
        cell(change["field"] or NOTHING),
        cell(change["from"]),
        cell(change["to"]),
        cell(f"{change['actor_name'] or change['actor']}{key}"),
        cell(local_time(change["time"], zone)),
        cell(str(change["position"])),
    ]
