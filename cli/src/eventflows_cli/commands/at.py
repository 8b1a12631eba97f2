"""`log at`: what the log says of things as of a moment: how many, which, or one of them in full."""

from __future__ import annotations

from typing import Annotated

import typer
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import NotFound

from eventflows_cli.app import log
from eventflows_cli.find import found_id, listed
from eventflows_cli.json_shapes import Json, of_time
from eventflows_cli.kinds import Kind
from eventflows_cli.moments import as_of
from eventflows_cli.names import Names
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.state_shapes import of_aggregate
from eventflows_cli.views import states as view


@command(log, "at")
async def at(
    run: Run,
    *,
    moment: Annotated[
        str, typer.Argument(help="A position (42), a time (2026-11-24T09:30:00Z), or now.")
    ],
    kind: Annotated[Kind | None, typer.Argument(help="List things of this kind.")] = None,
    which: Annotated[
        str | None, typer.Argument(metavar="[ID|NAME]", help="Show this one in full.")
    ] = None,
) -> int:
    """Show the state as of a moment: counts of all kinds, the things of a kind, or one thing."""
    then = as_of(moment)
    if kind is None:
        document = await _counts(run, then)
        run.output.show(document, lambda given: view.counts(given, None))
    elif which is None:
        document = await _list(run, then, kind)
        run.output.show(
            document,
            lambda given: view.things(given, None),
            lines=lambda given: [
                {"as_of_position": given["moment"]["position"], **item} for item in given["items"]
            ],
        )
    else:
        document = await _one(run, then, kind, which)
        run.output.show(document, lambda given: view.thing(given, None))
    return DONE


async def _counts(run: Run, then: pb.AsOf | None) -> Json:
    counts: dict[str, int] = {}
    resolved = pb.Moment()
    async with run.registry() as calls:
        for kind in Kind:
            counts[kind.value] = 0
            async for page in listed(calls, kind, then):
                counts[kind.value] += len(page.aggregates)
                resolved = page.moment
            # All kinds of one moment, also when it was `now`.
            then = pb.AsOf(position=resolved.position)
    return {"moment": of_moment(resolved), "counts": counts}


async def _list(run: Run, then: pb.AsOf | None, kind: Kind) -> Json:
    items = []
    async with run.registry() as calls:
        names = Names(calls, as_of=then)
        resolved = pb.Moment()
        async for page in listed(calls, kind, then):
            resolved = page.moment
            items += [await of_aggregate(each, names) for each in page.aggregates]
    return {"moment": of_moment(resolved), "kind": kind.value, "items": items}


async def _one(run: Run, then: pb.AsOf | None, kind: Kind, which: str) -> Json:
    async with run.registry() as calls:
        id_ = await found_id(calls, kind, which, then)
        request = pb.GetAggregateRequest(kind=kind.number, id=id_, as_of=then)
        answer = await calls.ask(calls.stub.GetAggregate, request)
        if not answer.HasField("aggregate"):
            raise NotFound(
                f"there was no {kind.value} {which} at position {answer.moment.position}: "
                f"`eventflows log tail --stream {id_}` shows when it came and went"
            )
        document = await of_aggregate(answer.aggregate, Names(calls, as_of=then))
    return {"moment": of_moment(answer.moment), **document}


def of_moment(moment: pb.Moment) -> Json:
    """What a question was resolved to."""
    return {"position": moment.position, "time": of_time(moment.time)}
