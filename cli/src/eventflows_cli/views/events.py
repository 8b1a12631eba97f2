"""Events for people: a line each, or one with all its fields."""

from __future__ import annotations

from datetime import tzinfo
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from eventflows_cli.json_shapes import Json
from eventflows_cli.kinds import in_words
from eventflows_cli.output import visible
from eventflows_cli.views.text import NOTHING, cell, flat, local_time, pairs, words

_WIDTHS: Final = (("POSITION", 9), ("TIME", 28), ("WHO", 18), ("WHAT", 34), ("WHICH", 0))


def headings() -> Text:
    """The line above the lines."""
    return Text(_columns([name for name, _ in _WIDTHS]), style="bold")


def line(event: Json, zone: tzinfo | None) -> Text:
    """One event as one line. Columns have fixed widths, so that a line needs no other."""
    return Text(
        _columns(
            [
                str(event["position"]),
                local_time(event["time"], zone),
                visible(event["actor_name"] or NOTHING).replace("\n", " "),
                in_words(event["event"]),
                visible(event["stream_name"] or event["stream_id"]).replace("\n", " "),
            ]
        ),
        no_wrap=False,
    )


def whole(event: Json, zone: tzinfo | None) -> RenderableType:
    """One event with all its fields and metadata."""
    about = {
        "position": cell(event["position"]),
        "time": cell(local_time(event["time"], zone)),
        "event": cell(f"{in_words(event['event'])} ({event['event']})"),
        "stream": cell(f"{event['stream_name']} ({event['stream_id']})"),
        "version": cell(event["version"]),
        "actor": cell(_named(event["actor_name"], event["actor"])),
        "key id": cell(event["key_id"]),
        "command id": cell(event["command_id"]),
        "correlation id": cell(event["correlation_id"]),
        "traceparent": cell(event["traceparent"]),
    }
    data = {f"  {name}": cell(words(value)) for name, value in flat(event["data"] or {})}
    return Group(pairs(about), Text("data", style="bold"), pairs(data))


def events(document: Json, zone: tzinfo | None) -> RenderableType:
    """Several events, whole, with an empty line between."""
    parts: list[RenderableType] = []
    for event in document["events"]:
        parts += [whole(event, zone), Text("")]
    return Group(*parts[:-1])


def _named(name: str, id_: str) -> str:
    return id_ if name == id_ else f"{name} ({id_})"


def _columns(values: list[str]) -> str:
    padded = [value.ljust(width) for value, (_, width) in zip(values, _WIDTHS, strict=True)]
    return "  ".join(padded).rstrip()
