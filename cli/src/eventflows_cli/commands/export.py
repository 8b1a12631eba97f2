"""`log export`: the log as a file that anybody can verify, and import elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput
from sealedlog.export_file import ExportWriter
from sealedlog.secret_sealing import load_public_key, public_bytes

from eventflows_cli.app import log
from eventflows_cli.export_check import of_manifest
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.views import transfers as view


@command(log, "export")
async def export(
    run: Run,
    *,
    file: Annotated[Path, typer.Argument(help="Where to; it appears whole or not at all.")],
    after: Annotated[
        int, typer.Option(min=0, help="Only what comes after this position (end of a batch).")
    ] = 0,
    replace: Annotated[bool, typer.Option(help="Replace a file that exists.")] = False,
    with_vault: Annotated[
        bool, typer.Option("--with-vault", help="Secrets too, sealed for the recipient.")
    ] = False,
    recipient: Annotated[
        str, typer.Option(metavar="NAME", help="Whose key it is; stands in the file.")
    ] = "",
    recipient_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Public key of `eventflows secrets keygen`."),
    ] = None,
) -> int:
    """Export the log to a file, verified while it is written. Without --with-vault no secrets."""
    request = pb.ExportLogRequest(after_position=after)
    if with_vault != bool(recipient) or with_vault != (recipient_key is not None):
        raise InvalidInput("--with-vault, --recipient and --recipient-key belong together")
    if recipient_key is not None:
        request.recipient = recipient
        request.recipient_public_key = public_bytes(load_public_key(recipient_key))
    async with run.registry() as calls:
        head = (await calls.ask(calls.stub.GetHead, pb.GetHeadRequest())).position
        with (
            ExportWriter(file, replace=replace) as writer,
            run.output.progress("exporting") as step,
        ):
            async for part in calls.stream(calls.stub.ExportLog, request):
                for record in part.records:
                    writer.write(record)
                step(writer.position - after, head - after)
            manifest = writer.complete()
    run.output.show(of_manifest(file, manifest), lambda given: view.exported(given, None))
    return DONE
