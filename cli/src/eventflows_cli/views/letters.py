"""Dead letters and their tasks, for people."""

from __future__ import annotations

from datetime import tzinfo

from rich.console import Group, RenderableType
from rich.text import Text

from eventflows_cli.json_shapes import Json
from eventflows_cli.views import results
from eventflows_cli.views.text import NOTHING, cell, grid, local_time, pairs, words

TIMES = ("record_time", "first_time", "given_up_time", "state_time")


def letters(document: Json, zone: tzinfo | None) -> RenderableType:
    """The answer of `dlq list`."""
    headings = ["ID", "GIVEN UP", "ALGORITHM", "SOURCE", "KEY", "REASON", "ATTEMPTS", "ERROR"]
    return grid(headings, [_row(one, zone) for one in document["letters"]])


def letter(document: Json, zone: tzinfo | None) -> RenderableType:
    """The answer of `dlq show`."""
    apart = ("record_key", "record_key_text", "value", "value_text", "headers", "history")
    rows = {"key": cell(_bytes(document["record_key_text"], document["record_key"]))}
    for name, each in document.items():
        if name in TIMES and each:
            rows[name] = cell(local_time(each, zone))
        elif name not in apart:
            rows[name] = cell(words(each))
    parts: list[RenderableType] = [pairs(rows)]
    if document["headers"]:
        headers = [
            [cell(one["name"]), cell(_bytes(one["value_text"], one["value"]))]
            for one in document["headers"]
        ]
        parts += [Text(""), grid(["HEADER", "VALUE"], headers)]
    if document["history"]:
        parts += [Text(""), grid(["ATTEMPT", "WHEN", "OUTCOME", "ERROR"], _history(document, zone))]
    value = _bytes(document["value_text"], document["value"])
    return Group(*parts, Text(""), Text("value", style="bold"), cell(value))


def tasks(document: Json, zone: tzinfo | None) -> RenderableType:
    """The answer of `dlq tasks`."""
    headings = ["ASKED FOR", "WHAT", "FLOW", "STATE", "SUCCEEDED", "FAILED", "LEFT", "WHY", "ID"]
    rows = [
        [
            cell(local_time(one["requested_time"], zone)),
            cell(f"{one['kind']}, own topic" if one["own_topic"] else one["kind"]),
            cell(one["flow_name"]),
            cell(one["state"]),
            cell(f"{one['succeeded']:,}"),
            cell(f"{one['failed']:,}"),
            cell(NOTHING if one["left"] is None else f"{one['left']:,}"),
            cell(one["reason"]),
            cell(one["dead_letter_task_id"]),
        ]
        for one in document["tasks"]
    ]
    return grid(headings, rows)


def count(document: Json) -> RenderableType:
    """The answer of a dry run."""
    at_least = "at least " if document["truncated"] else ""
    return pairs({"dead letters": cell(f"{at_least}{document['letters']:,}")})


def task_result(document: Json) -> RenderableType:
    """The answer of `dlq redrive`, `purge` and `cancel`: the stream is the task's."""
    return results.result(document, stream="task")


def _row(one: Json, zone: tzinfo | None) -> list[Text]:
    source = f"{one['topic']}[{one['partition']}] {one['offset']}"
    given_up = one["given_up_time"]
    return [
        cell(one["letter_id"]),
        cell(local_time(given_up, zone) if given_up else NOTHING),
        cell(f"{one['algorithm']} {one['algorithm_version']}".strip()),
        cell(source),
        cell(_bytes(one["record_key_text"], one["record_key"])),
        cell(one["reason"]),
        cell(one["attempts"]),
        cell(f"{one['error_type']}: {one['error']}" if one["error_type"] else one["error"]),
    ]


def _history(document: Json, zone: tzinfo | None) -> list[list[Text]]:
    return [
        [
            cell(one["attempt"]),
            cell(local_time(one["at"], zone) if one["at"] else NOTHING),
            cell(one["outcome"]),
            cell(one["error"]),
        ]
        for one in document["history"]
    ]


def _bytes(text: str | None, digits: str | None) -> str:
    """As text where it is some, else its hex digits."""
    if digits is None:
        return NOTHING
    return text if text is not None else f"0x{digits}"
