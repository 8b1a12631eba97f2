"""`log import`: an export into an empty registry, or on from where it stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput, StateForbids
from sealedlog.export_file import read_file
from sealedlog.export_records import parts_of
from sealedlog.secret_sealing import (
    IMPORT_KEY_METADATA,
    load_private_key,
    public_key_of,
    resealed,
    without_secrets,
)

from eventflows_cli.app import log
from eventflows_cli.export_check import manifest_of, of_manifest
from eventflows_cli.json_shapes import of_time
from eventflows_cli.output import Step
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.views import transfers as view


@command(log, "import")
async def import_(
    run: Run,
    *,
    file: Annotated[Path, typer.Argument(help="An export.")],
    identity: Annotated[
        Path | None,
        typer.Option(metavar="KEYFILE", help="Private key that the export's secrets are for."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Import an export into an empty registry, or go on with one that was interrupted.

    The file is verified as a whole before the first event is sent. Without --identity its secrets
    stay out: connections and listeners are blocked until their credentials are entered.
    """
    key = None if identity is None else load_private_key(identity)
    with run.output.progress("verifying") as step:
        manifest = await manifest_of(file, step)
    if key is not None and not manifest.secrets:
        raise InvalidInput(f"{file} holds no secrets: leave --identity out")
    async with run.registry() as calls:
        await run.confirm(
            f"Import {manifest.events:,} events (up to position {manifest.last.position}) into the "
            f"registry at {run.profile().address}?",
            yes=yes,
        )
        with run.output.progress("importing") as step:
            answer: pb.ImportLogResponse = await calls.send(
                calls.stub.ImportLog,
                lambda metadata: _parts(file, key, metadata, step, manifest.last.position),
            )
    document = {
        **of_manifest(file, manifest),
        "imported_events": answer.events,
        "imported_batches": answer.batches,
        "registry_head": {
            "position": answer.head.position,
            "hash": answer.head.hash.hex(),
            "time": of_time(answer.head.time),
        },
        "streams_without_credentials": answer.streams_without_credentials,
    }
    run.output.show(document, view.imported)
    return DONE


async def _parts(
    file: Path,
    key: X25519PrivateKey | None,
    metadata: Callable[[], Awaitable[Mapping[str, str | bytes]]],
    step: Step,
    last_position: int,
) -> AsyncIterator[pb.ExportPart]:
    """Nothing is sent before the registry said, by its metadata, that it will take an import."""
    given = (await metadata()).get(IMPORT_KEY_METADATA)
    records: Iterator[pb.ExportRecord] = read_file(file)
    if key is None:
        records = without_secrets(records)
    else:
        if not isinstance(given, bytes):
            raise StateForbids("the registry takes no secrets: import without --identity")
        records = resealed(records, key, public_key_of(given))
    for part in parts_of(records):
        yield part
        last = part.records[-1]
        if last.HasField("batch"):
            step(last.batch.last_position, last_position)
