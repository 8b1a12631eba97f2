"""`log diff`: what differs between two moments, and who changed it."""

from __future__ import annotations

from typing import Annotated

import typer
from catalog.metadata import metadata_of
from eventflows.registry.v1 import registry_pb2 as pb

from eventflows_cli.app import log
from eventflows_cli.commands.at import of_moment
from eventflows_cli.json_shapes import Json, of_time
from eventflows_cli.kinds import OF_NUMBER, Kind
from eventflows_cli.moments import as_of
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.views import changes as view


@command(log, "diff")
async def diff(
    run: Run,
    *,
    from_: Annotated[
        str, typer.Argument(metavar="FROM", help="A position, a time with its zone, or now.")
    ],
    to: Annotated[str, typer.Argument(metavar="TO", help="The same.")] = "now",
    kind: Annotated[
        list[Kind] | None, typer.Option(help="Of this kind only; may be given again.")
    ] = None,
    id_: Annotated[
        list[str] | None,
        typer.Option("--id", help="Of this thing only; may be given again."),
    ] = None,
) -> int:
    """Show what differs between two moments: which thing, which field, from, to, who, when."""
    request = pb.DiffRequest(
        to=as_of(to), kinds=[each.number for each in kind or ()], ids=id_ or ()
    )
    if (begin := as_of(from_)) is not None:
        getattr(request, "from").CopyFrom(begin)
    async with run.registry() as calls:
        answer = await calls.ask(calls.stub.Diff, request)
    run.output.show(
        of_diff(answer),
        lambda document: view.changes(document, None),
        lines=lambda document: document["changes"],
    )
    return DONE


def of_diff(answer: pb.DiffResponse) -> Json:
    """The whole answer as a document."""
    return {
        "from": of_moment(getattr(answer, "from")),
        "to": of_moment(answer.to),
        "changes": [_change(change) for change in answer.changes],
    }


def _change(change: pb.Change) -> Json:
    kind = OF_NUMBER.get(change.kind)
    about = metadata_of(change.metadata)
    return {
        "kind": None if kind is None else kind.value,
        "id": change.id,
        "name": change.name,
        "field": change.field,
        "from": getattr(change, "from"),
        "to": change.to,
        "position": change.position,
        "time": of_time(change.time),
        "event": change.event_name,
        "actor": about.actor,
        "actor_name": change.actor_name,
        "key_id": about.key_id,
        "key_label": change.key_label,
        "command_id": about.command_id,
        "correlation_id": about.correlation_id,
    }
