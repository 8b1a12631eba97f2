"""`log tail`: the newest events, a line each, and with -f those that come."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated, Final

import typer
from catalog.metadata import metadata_of
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput

from eventflows_cli.app import log
from eventflows_cli.calls import Calls
from eventflows_cli.event_shapes import of_event
from eventflows_cli.follow import follow
from eventflows_cli.json_shapes import Json
from eventflows_cli.kinds import Kind
from eventflows_cli.log_pages import Filter, forward, newest
from eventflows_cli.names import Names
from eventflows_cli.output import Format, Output
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.views import events as view

LINES_DEFAULT: Final = 20
LINES_MAX: Final = 1_000_000


@command(log, "tail")
async def tail(
    run: Run,
    *,
    follow_on: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with events as they come.")
    ] = False,
    lines: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--lines",
            min=0,
            max=LINES_MAX,
            help=f"How many of the newest.  [default: {LINES_DEFAULT}]",
        ),
    ] = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="All events after this position instead.")
    ] = None,
    kind: Annotated[
        list[Kind] | None, typer.Option(help="Of this kind only; may be given again.")
    ] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option(metavar="STREAM_ID", help="Of this stream only; may be given again."),
    ] = None,
) -> int:
    """Show the newest events of the log, oldest first."""
    if follow_on and run.output.format is Format.JSON:
        raise InvalidInput("what never ends is no JSON value: use --output jsonl with --follow")
    if after is not None and lines is not None:
        raise InvalidInput("give --lines or --after, not both")
    wanted = Filter(kinds=tuple(kind or ()), stream_ids=tuple(stream or ()))
    async with run.registry() as calls:
        printer = _Printer(run.output, Names(calls))
        head = (await calls.ask(calls.stub.GetHead, pb.GetHeadRequest())).position
        if after is None:
            count = LINES_DEFAULT if lines is None else lines
            await printer.print(await newest(calls, wanted, count=count, to=head))
        else:
            await _since(calls, wanted, after, head, printer)
        printer.end()
        if follow_on:
            going_on = follow(calls, wanted, after=max(head, after or 0), say=run.output.say)
            async with aclosing(going_on) as pages:
                async for page in pages:
                    await printer.print(page)
    return DONE


async def _since(calls: Calls, wanted: Filter, after: int, head: int, printer: _Printer) -> None:
    if after > head:
        raise InvalidInput(f"the log ends at position {head}: --after {after} is beyond it")
    async for page in forward(calls, wanted, after=after, to=head):
        await printer.print(page)


class _Printer:
    """Prints pages of events as they come; as one JSON value only at the `end`."""

    def __init__(self, output: Output, names: Names) -> None:
        self._output = output
        self._names = names
        self._kept: list[Json] = []
        if output.is_table:
            output.draw(view.headings())

    async def print(self, page: Sequence[events_pb2.RecordedEvent]) -> None:
        """A page, with the names of its streams and actors."""
        await self._names.learn(page)
        for recorded in page:
            document = of_event(
                recorded,
                stream_name=await self._names.of_stream(recorded),
                actor_name=await self._names.of_actor(metadata_of(recorded.metadata).actor),
            )
            match self._output.format:
                case Format.TABLE:
                    self._output.draw(view.line(document, None))
                case Format.JSONL:
                    self._output.line(document)
                case Format.JSON:
                    self._kept.append(document)

    def end(self) -> None:
        """Nothing more comes of what was there."""
        if self._output.format is Format.JSON:
            self._output.value({"events": self._kept})
