"""Event flows, for people."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from eventflows_cli.json_shapes import Json
from eventflows_cli.views.text import NOTHING, cell, flat, grid, local_time, pairs, words


def flows(document: Json, _zone: tzinfo | None) -> RenderableType:
    """The answer of `flow list`."""
    headings = ["NAME", "STATE", "LAG", "IN FLIGHT", "PER SECOND", "WHY", "ID"]
    rows = [[*_row(one), cell(one["id"])] for one in document["flows"]]
    table = grid(headings, rows)
    for column in table.columns[2:5]:
        column.justify = "right"
    return table


def flow(document: Json, zone: tzinfo | None) -> RenderableType:
    """The answer of `flow status`."""
    rows = {
        "name": cell(document["name"]),
        "id": cell(document["id"]),
        "state": cell(document["state"], style="bold"),
        "reason": cell(document["reason"]),
        "paused": cell(_pause(document["paused"], zone)),
    }
    live = document["live"]
    if live is None:
        rows["router"] = cell("says nothing of it")
    else:
        told = {name: each for name, each in live.items() if name not in ("state", "reason")}
        rows |= {name: cell(_value(name, each, zone)) for name, each in told.items()}
    parts: list[RenderableType] = [pairs(rows)]
    if document["settings"] is not None:
        settings = {name: cell(_setting(each)) for name, each in flat(document["settings"])}
        parts += [Text(""), Text("settings", style="bold"), pairs(settings)]
    if document["unreachable_workers"]:
        away = words(document["unreachable_workers"])
        parts += [Text(""), cell(f"no answer from {away}: what they know of it lacks")]
    return Group(*parts)


def _row(one: Json) -> list[Text]:
    live = one["live"] or {}
    state = one["state"] if live.get("healthy", True) else f"{one['state']}, unhealthy"
    return [
        cell(one["name"]),
        cell(state),
        cell(_count(live.get("lag_records"))),
        cell(_count(live.get("in_flight"))),
        cell(f"{live['settled_per_s']:.1f}" if live else NOTHING),
        cell(one["reason"]),
    ]


def _count(number: int | None) -> str:
    return NOTHING if number is None else f"{number:,}"


def _pause(paused: Json | None, zone: tzinfo | None) -> str:
    if paused is None:
        return "no"
    drain = ", what was received is finished" if paused["drain"] else ""
    why = f": {paused['reason']}" if paused["reason"] else ""
    return f"since {local_time(paused['time'], zone)}{drain}{why}"


def _setting(value: object) -> str:
    """What was not set is written as 0 or `unspecified` in the log."""
    unset = value == "unspecified" or (value == 0 and not isinstance(value, bool))
    return "default" if unset else words(value)


def _value(name: str, value: Any, zone: tzinfo | None) -> str:
    if name in ("since", "last_progress") and value:
        return local_time(value, zone)
    return f"{value:.3g}" if isinstance(value, float) else words(value)
