"""`secrets shred`: destroy the secrets of one connection or listener, for good."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput

from eventflows_cli.app import secrets
from eventflows_cli.appending import CommandId, appended, command_id_of, of_result
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.views import results as view


@command(secrets, "shred")
async def shred(
    run: Run,
    *,
    stream_id: Annotated[str, typer.Argument(help="Id of the connection or listener.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    command_id: CommandId = None,
) -> int:
    """Destroy every secret of one connection or listener, for good, also replaced ones.

    What uses them is blocked until new credentials are entered.
    """
    try:
        stream = str(UUID(stream_id))
    except ValueError as error:
        raise InvalidInput(
            f"{stream_id!r} is no id: `eventflows log at now connection` shows them"
        ) from error
    await run.confirm(f"Destroy all secrets of {stream} for good?", yes=yes)
    context = pb.CommandContext(command_id=command_id_of(command_id))
    request = pb.ShredSecretsRequest(context=context, stream_id=stream)
    async with run.registry() as calls:
        result = await appended(calls, calls.stub.ShredSecrets, request)
    run.output.show(of_result(result, context.command_id), view.result)
    return DONE
