"""`dlq tasks`, `cancel`: redrives and purges that were asked for."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer
from eventflows.catalog.v1 import catalog_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows.router.v1 import router_pb2
from kernel.errors import InvalidInput, NotFound, StateForbids, Unavailable

from eventflows_cli.app import dlq
from eventflows_cli.appending import CommandId, appended, command_id_of, of_result
from eventflows_cli.find import found_flow, is_id, listed
from eventflows_cli.kinds import Kind
from eventflows_cli.letter_shapes import of_task
from eventflows_cli.names import Names
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.views import letters as view


@command(dlq, "tasks")
async def tasks(
    run: Run,
    *,
    which: Annotated[
        str | None, typer.Argument(metavar="FLOW", help="Of this flow; default: of all.")
    ] = None,
) -> int:
    """List redrives and purges, the newest first: those that go on, and the last that ended."""
    async with run.registry() as calls:
        names = Names(calls)
        flow_id = None if which is None else (await found_flow(calls, which)).flow_id
        found: list[catalog_pb2.DeadLetterTask] = []
        async for page in listed(calls, Kind.DEAD_LETTER_TASK, None):
            found += [each.dead_letter_task for each in page.aggregates]
        found = [one for one in found if flow_id in (None, one.flow_id)]
        found.sort(key=lambda one: -one.requested_position)
        progress = await _progress(run, found)
        documents = [
            {
                **of_task(one, progress.get(one.dead_letter_task_id)),
                "flow_name": await names.of(Kind.FLOW, one.flow_id),
            }
            for one in found
        ]
    run.output.show(
        {"tasks": documents}, lambda given: view.tasks(given, None),
        lines=lambda given: given["tasks"],
    )  # fmt: skip
    return DONE


@command(dlq, "cancel")
async def cancel(
    run: Run,
    *,
    task_id: Annotated[str, typer.Argument(metavar="ID", help="As `dlq tasks` shows it.")],
    command_id: CommandId = None,
) -> int:
    """Do nothing more for a redrive or a purge; what it did stays done."""
    if not is_id(task_id) or not UUID(task_id).int:
        raise InvalidInput(f"{task_id!r} is no id of a task: `eventflows dlq tasks` shows them")
    task = str(UUID(task_id))
    context = pb.CommandContext(command_id=command_id_of(command_id))
    request = pb.CancelDeadLetterTaskRequest(context=context, dead_letter_task_id=task)
    async with run.registry() as calls:
        result = await appended(calls, calls.stub.CancelDeadLetterTask, request)
    run.output.show(of_result(result, context.command_id), view.task_result)
    return DONE


async def _progress(
    run: Run, found: list[catalog_pb2.DeadLetterTask]
) -> dict[str, router_pb2.DeadLetterTaskProgress]:
    """What the router says of those that go on; nothing without its address."""
    going_on = [one for one in found if not one.HasField("ended_time")]
    progress: dict[str, router_pb2.DeadLetterTaskProgress] = {}
    if not going_on or run.profile().router_address is None:
        return progress
    async with run.router() as router:
        for one in going_on:
            request = router_pb2.GetDeadLetterTaskRequest(
                dead_letter_task_id=one.dead_letter_task_id
            )
            try:
                answer = await router.ask(router.stub.GetDeadLetterTask, request)
            except (NotFound, StateForbids):  # it has not begun with it, for example
                continue
            except Unavailable as error:
                run.output.say(f"{error.message}; only what the log says of the tasks is shown")
                break
            progress[one.dead_letter_task_id] = answer
    return progress
