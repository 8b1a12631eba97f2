"""`log revert`: bring one thing back to an earlier version, by appending events."""

from __future__ import annotations

from typing import Annotated

import typer
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import NotFound

from eventflows_cli.app import log
from eventflows_cli.appending import CommandId, appended, command_id_of, of_result
from eventflows_cli.find import found_id
from eventflows_cli.kinds import Kind
from eventflows_cli.names import Names
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.views import results as view


@command(log, "revert")
async def revert(
    run: Run,
    *,
    kind: Annotated[Kind, typer.Argument(help="What it is.")],
    which: Annotated[str, typer.Argument(metavar="ID|NAME", help="Which one.")],
    version: Annotated[
        int, typer.Argument(min=1, help="Version of its stream, as `log show` tells it.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    command_id: CommandId = None,
) -> int:
    """Bring one thing back to an earlier version by appending events, under the usual rules.

    Nothing is taken away: the events in between stay in the log.
    """
    context = pb.CommandContext(command_id=command_id_of(command_id))
    async with run.registry() as calls:
        id_ = await found_id(calls, kind, which, None)
        question = pb.GetAggregateRequest(kind=kind.number, id=id_)
        answer = await calls.ask(calls.stub.GetAggregate, question)
        if answer.HasField("aggregate"):
            name = await Names(calls).of_aggregate(answer.aggregate)
            state = getattr(answer.aggregate, str(answer.aggregate.WhichOneof("state")))
            # What is agreed to is what is there now: whoever changes it meanwhile wins.
            if command_id is None:
                context.expected_version = state.stream_version
            await run.confirm(
                f"Revert {kind.value} {name} from version {state.stream_version} to {version}?",
                yes=yes,
            )
        elif command_id is None:
            raise NotFound(
                f"there is no {kind.value} {which} now: what was deleted cannot be reverted"
            )
        request = pb.RevertRequest(
            context=context, kind=kind.number, stream_id=id_, to_version=version
        )
        result = await appended(calls, calls.stub.Revert, request)
    run.output.show(of_result(result, context.command_id), view.result)
    return DONE
