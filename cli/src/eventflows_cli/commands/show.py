"""`log show`: one event, or all events of one command, with every field and who did it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import typer
from catalog.metadata import metadata_of
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput, NotFound

from eventflows_cli.app import log
from eventflows_cli.calls import Calls
from eventflows_cli.event_shapes import of_event
from eventflows_cli.log_pages import Filter, backward
from eventflows_cli.moments import position
from eventflows_cli.names import Names
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.views import events as view


@command(log, "show")
async def show(
    run: Run,
    *,
    which: Annotated[
        str, typer.Argument(metavar="POSITION|COMMAND_ID", help="An event, or a command's events.")
    ],
) -> int:
    """Show one event, or those of one command, in full.

    A command id is searched from the newest event backwards: seconds in a log of a million events.
    """
    async with run.registry() as calls:
        found = await _found(run, calls, which)
        names = Names(calls)
        documents = [
            of_event(
                recorded,
                stream_name=await names.of_stream(recorded),
                actor_name=await names.of_actor(metadata_of(recorded.metadata).actor),
            )
            for recorded in found
        ]
    run.output.show(
        {"events": documents},
        lambda document: view.events(document, None),
        lines=lambda document: document["events"],
    )
    return DONE


async def _found(run: Run, calls: Calls, which: str) -> Sequence[events_pb2.RecordedEvent]:
    head = (await calls.ask(calls.stub.GetHead, pb.GetHeadRequest())).position
    if which.isascii() and which.isdigit():
        return [await _at(calls, position(which), head)]
    try:
        command_id = str(UUID(which))
    except ValueError as error:
        raise InvalidInput(
            f"{which!r} is neither a position (42) nor a command id (a UUID)"
        ) from error
    found: list[events_pb2.RecordedEvent] = []
    with run.output.progress("searching") as step:
        async for page in backward(calls, Filter(), to=head):
            of_command = [one for one in page if metadata_of(one.metadata).command_id == command_id]
            found += of_command
            if found and not (of_command and page[-1] is of_command[-1]):
                break  # a command's events stand together
            if page:
                step(head - page[-1].position, head)
    if not found:
        raise NotFound(f"no event of the log is of the command {command_id}")
    return found[::-1]


async def _at(calls: Calls, place: int, head: int) -> events_pb2.RecordedEvent:
    if not 0 < place <= head:
        raise NotFound(f"the log has no event {place}: it goes from 1 to {head}")
    request = pb.ReadLogRequest(after_position=place - 1, to_position=place, limit=1)
    page = await calls.ask(calls.stub.ReadLog, request)
    return page.events[0]  # type: ignore[no-any-return]
