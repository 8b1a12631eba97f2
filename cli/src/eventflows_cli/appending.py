"""Commands of an operator that append to the log: their ids, and what came of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

import typer
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput, Unavailable

from eventflows_cli.calls import Calls
from eventflows_cli.json_shapes import Json

ACTOR: Final = "service:operator"

CommandId = Annotated[
    str | None,
    typer.Option(
        metavar="UUID", help="Repeat the command of this id: it is done once, however often it is."
    ),
]


def command_id_of(given: str | None) -> str:
    """The given id, else a new one. Raises InvalidInput."""
    if given is None:
        return str(uuid4())
    try:
        return str(UUID(given))
    except ValueError as error:
        raise InvalidInput(f"--command-id {given!r} is no UUID") from error


async def appended(calls: Calls, method: Callable[..., Any], request: Any) -> pb.CommandResult:
    """Send a command as the operator. Raises kernel errors; Unavailable says how to ask again."""
    context: pb.CommandContext = request.context
    context.actor = ACTOR
    context.correlation_id = context.command_id
    try:
        return await calls.ask(method, request)  # type: ignore[no-any-return]
    except Unavailable as error:
        raise type(error)(
            f"{error.message}. It may or may not have been done: repeat it with "
            f"--command-id {context.command_id}, then it is done once"
        ) from error


def of_result(result: pb.CommandResult, command_id: str) -> Json:
    """What came of a command, as a document."""
    return {
        "command_id": command_id,
        "stream_id": result.stream_id,
        "version": result.version,
        "position": result.position,
        "changed": result.changed,
        "replayed": result.replayed,
    }
