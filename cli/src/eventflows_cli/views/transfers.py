"""What an export or import moved, for people."""

from __future__ import annotations

from datetime import tzinfo

from rich.console import RenderableType

from eventflows_cli.json_shapes import Json
from eventflows_cli.views.text import amount, cell, local_time, pairs


def exported(document: Json, zone: tzinfo | None) -> RenderableType:
    """The answer of `log export`."""
    secrets = f"{document['secrets']:,}, sealed for {document['recipient']}"
    return pairs(
        {
            "file": cell(document["file"]),
            "events": amount(document["events"]),
            "batches": amount(document["batches"]),
            "secrets": cell(secrets if document["recipient"] else "none"),
            "exported": cell(local_time(document["exported_at"], zone)),
            "head": cell(_head(document["head"])),
            "SHA-256": cell(document["sha256"]),
        }
    )


def imported(document: Json) -> RenderableType:
    """The answer of `log import`."""
    rows = {
        "file": cell(document["file"]),
        "events": amount(document["imported_events"]),
        "batches": amount(document["imported_batches"]),
        "head": cell(_head(document["registry_head"])),
    }
    if missing := document["streams_without_credentials"]:
        rows["without credentials"] = cell(
            f"{missing:,} connections and listeners: blocked until they are entered"
        )
    return pairs(rows)


def _head(head: Json) -> str:
    return f"{head['position']}:{head['hash']}"
