"""States as of a moment, for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from eventflows_cli.json_shapes import Json
from eventflows_cli.kinds import Kind
from eventflows_cli.views.text import amount, cell, flat, grid, local_time, pairs, words

_Column = Callable[[Json, tzinfo | None], str]
"""From an item of a document to the words of its cell."""


def counts(document: Json, zone: tzinfo | None) -> RenderableType:
    """How many things of each kind there were."""
    rows = [(cell(Kind(kind).plural), amount(count)) for kind, count in document["counts"].items()]
    table = grid(["KIND", "COUNT"], rows)
    table.columns[1].justify = "right"
    return Group(_moment(document, zone), Text(""), table)


def things(document: Json, zone: tzinfo | None) -> RenderableType:
    """The things of one kind, a row each."""
    columns = {"NAME": _name, **_COLUMNS[Kind(document["kind"])], "ID": _id}
    rows = [[cell(column(item, zone)) for column in columns.values()] for item in document["items"]]
    return Group(_moment(document, zone), Text(""), grid(list(columns), rows))


def thing(document: Json, zone: tzinfo | None) -> RenderableType:
    """One thing with all its fields."""
    names = document["names"]
    rows = {"name": cell(document["name"]), "kind": cell(document["kind"])}
    for name, value in flat(document["state"]):
        is_time = name.rpartition(".")[2].endswith(("_time", "_at")) and value
        shown = local_time(value, zone) if is_time else words(value)
        known = names.get(value) if isinstance(value, str) else None
        rows[name] = cell(f"{known} ({value})" if known else shown)
    return Group(_moment(document, zone), Text(""), pairs(rows))


def _moment(document: Json, zone: tzinfo | None) -> Text:
    moment = document["moment"]
    when = f" ({local_time(moment['time'], zone)})" if moment["position"] else ""
    return Text(f"as of position {moment['position']}{when}", style="bold")


def _name(item: Json, _zone: tzinfo | None) -> str:
    return words(item["name"])


def _id(item: Json, _zone: tzinfo | None) -> str:
    return words(item["id"])


def _field(name: str) -> _Column:
    return lambda item, _zone: words(item["state"][name])


def _created(item: Json, zone: tzinfo | None) -> str:
    return local_time(item["state"]["created_time"], zone)


def _credentials(item: Json, _zone: tzinfo | None) -> str:
    return "kept" if item["state"]["credentials"] else "none"


def _grants(item: Json, _zone: tzinfo | None) -> str:
    return words(
        [
            f"{item['names'].get(grant['algorithm_id'], grant['algorithm_id'])} {grant['api_type']}"
            for grant in item["state"]["grants"]
        ]
    )


def _newest(item: Json, _zone: tzinfo | None) -> str:
    return words(item["state"]["versions"][-1]["version"] if item["state"]["versions"] else "")


def _enabled(item: Json, _zone: tzinfo | None) -> str:
    if not item["state"]["settings"]:
        return "disabled"
    return "paused" if item["state"]["paused"] else "enabled"


def _flow_version(item: Json, _zone: tzinfo | None) -> str:
    settings = item["state"]["settings"]
    return words(settings and (settings["algorithm_version"] or "newest"))


def _count(name: str) -> _Column:
    return lambda item, _zone: words(len(item["state"][name]))


_COLUMNS: Final[Mapping[Kind, Mapping[str, _Column]]] = {
    Kind.ACCOUNT: {
        "KIND": _field("kind"),
        "EMAIL": _field("email"),
        "KEYS": _count("keys"),
        "CREATED": _created,
    },
    Kind.ALGORITHM: {
        "SOURCE": _field("source_kind"),
        "BUILDS": _count("builds"),
        "VERSION": _newest,
        "CREATED": _created,
    },
    Kind.CONNECTION: {
        "SERVERS": _field("bootstrap_servers"),
        "SECURITY": _field("security_protocol"),
        "CREDENTIALS": _credentials,
        "CREATED": _created,
    },
    Kind.TOPIC_ACCESS: {"GRANTS": _grants},
    Kind.FLOW: {"KIND": _field("kind"), "STATE": _enabled, "VERSION": _flow_version},
    Kind.DEAD_LETTER_TASK: {
        "STATE": _field("state"),
        "SUCCEEDED": _field("succeeded"),
        "FAILED": _field("failed"),
    },
}
