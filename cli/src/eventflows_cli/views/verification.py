"""What a verification found, for people."""

from __future__ import annotations

from rich.console import RenderableType

from eventflows_cli.json_shapes import Json
from eventflows_cli.views.text import amount, cell, pairs


def verdict(document: Json) -> RenderableType:
    """The answer of `log verify`; its head is in the form that --expect takes."""
    head = document["head"]
    intact = document["intact"]
    rows = {
        "log": cell("intact" if intact else "BROKEN", style="green" if intact else "bold red"),
        "events": amount(document["events"]),
        "seals": amount(document["seals"]),
        "last good seal" if not intact else "head": cell(f"{head['position']}:{head['hash']}"),
    }
    if not intact:
        rows["problem"] = cell(document["problem"])
    return pairs(rows)
