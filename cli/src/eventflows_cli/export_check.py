"""An export file checked as a whole: form, chain, trailer. Needs no service."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from kernel.errors import StateForbids
from sealedlog.export_check import ExportCheck, MalformedExport
from sealedlog.export_file import read_file
from sealedlog.export_records import Manifest, ends_batch
from sealedlog.verification import ChainBroken, ChainPoint

from eventflows_cli.json_shapes import Json, rfc3339
from eventflows_cli.output import Step


async def verdict(path: Path, expected: ChainPoint | None, step: Step) -> Json:
    """What a verification of the file found, as `log verify` shows it.

    Raises InvalidInput (the expected head cannot be one), NotFound.
    """
    check = ExportCheck(expected=expected)
    counted = _Counted()
    problem = ""
    try:
        await _walk(check, path, step, counted)
        check.finish()
    except (ChainBroken, MalformedExport) as error:
        problem = error.message
    point = check.point
    return {
        "of": "file",
        "intact": not problem,
        "events": counted.events,
        "seals": counted.seals,
        "head": {
            "position": point.position if point else 0,
            "hash": point.hash.hex() if point else "",
        },
        "problem": problem,
    }


async def manifest_of(path: Path, step: Step) -> Manifest:
    """What a sound file holds. Raises StateForbids when it is not as it was exported, NotFound."""
    check = ExportCheck()
    try:
        await _walk(check, path, step, _Counted())
        return check.finish()
    except (ChainBroken, MalformedExport) as error:
        raise StateForbids(f"{path}: {error.message}; nothing was sent") from error


def of_manifest(path: Path, manifest: Manifest) -> Json:
    """A manifest as a document."""
    return {
        "file": str(path),
        "after_position": manifest.after.position,
        "head": {"position": manifest.last.position, "hash": manifest.last.hash.hex()},
        "exported_at": rfc3339(manifest.exported_at),
        "events": manifest.events,
        "batches": manifest.batches,
        "secrets": manifest.secrets,
        "recipient": manifest.recipient,
        "sha256": manifest.sha256.hex(),
    }


@dataclass(slots=True)
class _Counted:
    """Of the batches that were found good."""

    events: int = 0
    seals: int = 0


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


async def _walk(check: ExportCheck, path: Path, step: Step, counted: _Counted) -> None:
    size_bytes = _size_bytes(path)
    for record in read_file(path, progress=lambda done: step(done, size_bytes)):
        check.take(record)
        if record.HasField("batch") and ends_batch(record.batch):
            counted.events += record.batch.last_position - record.batch.first_position + 1
            counted.seals += 1
        await asyncio.sleep(0)  # so that Ctrl-C is heard
