"""What came of a command, for people."""

from __future__ import annotations

from rich.console import RenderableType

from eventflows_cli.json_shapes import Json
from eventflows_cli.views.text import NOTHING, cell, pairs


def result(document: Json, *, stream: str = "stream") -> RenderableType:
    """The answer of a command that appends; `stream` says what its stream is."""
    said = "done" if document["changed"] else "nothing to do: it was so already"
    if document["replayed"]:
        said = f"{said} (this command was known already)"
    return pairs(
        {
            "result": cell(said),
            stream: cell(document["stream_id"]),
            "version": cell(document["version"]),
            "position": cell(str(document["position"])),
            "command id": cell(document["command_id"]),
        }
    )


def key_pair(document: Json) -> RenderableType:
    """The answer of `secrets keygen`."""
    return pairs(
        {
            "private key": cell(f"{document['private_key_file']} (keep it where imports are made)"),
            "public key": cell(f"{document['public_key_file']} (for --recipient-key)"),
        }
    )


def profiles(document: Json) -> RenderableType:
    """The answer of `profile list`."""
    rows = {
        f"{each['name']}{' *' if each['default'] else ''}": cell(each["address"])
        for each in document["profiles"]
    }
    return pairs({"file": cell(document["file"]), **rows})


def profile(document: Json) -> RenderableType:
    """The answer of `profile show`."""
    origins = document["origins"]
    return pairs(
        {
            key: cell(f"{document[key]}  (from {origins[key]})" if key in origins else NOTHING)
            for key in ("address", "router_address", "key_file", "timeout_s")
        }
    )
