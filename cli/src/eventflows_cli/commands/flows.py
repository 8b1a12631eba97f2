"""`flow list`, `status`, `pause`, `resume`: what event flows do, and how to hold one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import typer
from eventflows.catalog.v1 import catalog_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows.router.v1 import router_pb2
from kernel.errors import Unavailable

from eventflows_cli.app import flow as flows
from eventflows_cli.appending import CommandId, appended, command_id_of, of_result
from eventflows_cli.find import found_flow, found_id, listed
from eventflows_cli.flow_shapes import of_flow, of_settings
from eventflows_cli.kinds import Kind
from eventflows_cli.names import Names
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.views import flows as view
from eventflows_cli.views import results
from eventflows_cli.words import FlowState

ASKED_MAX: Final = 1_000
"""Flows in one question to the router."""

Which = Annotated[
    str,
    typer.Argument(
        metavar="FLOW",
        help="Its id, or its algorithm as owner/name, with /TOPIC where that has several flows.",
    ),
]


@command(flows, "list")
async def list_(
    run: Run,
    *,
    state: Annotated[
        list[FlowState] | None, typer.Option(help="In this state only; may be given again.")
    ] = None,
    algorithm: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Of this algorithm only.")
    ] = None,
) -> int:
    """List event flows with what they do. Without the router: what the log says."""
    async with run.registry() as calls:
        names = Names(calls)
        if algorithm is not None:
            await found_id(calls, Kind.ALGORITHM, algorithm, None)
        found: list[tuple[catalog_pb2.Flow, str]] = []
        async for page in listed(calls, Kind.FLOW, None):
            for each in page.aggregates:
                one = each.flow
                of = await names.of(Kind.ALGORITHM, one.algorithm_id)
                if algorithm in (None, of):
                    found.append((one, await names.of_aggregate(each)))
    silent, statuses = False, dict[str, router_pb2.FlowStatus]()
    try:
        statuses = await _statuses(run, [one.flow_id for one, _ in found])
    except Unavailable as error:
        silent = True
        run.output.say(f"{error.message}; until then only what the log says of the flows is shown")
    documents = [
        of_flow(one, statuses.get(one.flow_id), name=name, silent=silent) for one, name in found
    ]
    document = {"flows": [one for one in documents if not state or one["state"] in state]}
    run.output.show(
        document, lambda given: view.flows(given, None), lines=lambda given: given["flows"]
    )
    return DONE


@command(flows, "status")
async def status(run: Run, *, which: Which) -> int:
    """Show what one event flow does: state and why, lag, what is in flight, rates, settings."""
    async with run.registry() as calls:
        one = await found_flow(calls, which)
        name = await Names(calls).of_aggregate(catalog_pb2.Aggregate(flow=one))
    async with run.router() as router:
        request = router_pb2.GetFlowStatusRequest(flow_ids=[one.flow_id])
        answer = await router.ask(router.stub.GetFlowStatus, request)
    said = next(iter(answer.flows), None)
    document = {
        **of_flow(one, said, name=name),
        "settings": of_settings(one),
        "unreachable_workers": list(answer.unreachable_workers),
    }
    run.output.show(document, lambda given: view.flow(given, None))
    return DONE


@command(flows, "pause")
async def pause(
    run: Run,
    *,
    which: Which,
    drain: Annotated[bool, typer.Option("--drain", help="Finish first what was received.")] = False,
    reason: Annotated[str, typer.Option(help="For people who look at it.")] = "",
    command_id: CommandId = None,
) -> int:
    """Let an event flow start no run for a while; it keeps its settings and its place."""
    context = pb.CommandContext(command_id=command_id_of(command_id))
    async with run.registry() as calls:
        one = await found_flow(calls, which)
        request = pb.PauseFlowRequest(
            context=context, flow_id=one.flow_id, drain=drain, reason=reason
        )
        result = await appended(calls, calls.stub.PauseFlow, request)
    run.output.show(of_result(result, context.command_id), results.result)
    return DONE


@command(flows, "resume")
async def resume(run: Run, *, which: Which, command_id: CommandId = None) -> int:
    """Let an event flow go on, and try again what it halted at."""
    context = pb.CommandContext(command_id=command_id_of(command_id))
    async with run.registry() as calls:
        one = await found_flow(calls, which)
        request = pb.ResumeFlowRequest(context=context, flow_id=one.flow_id)
        result = await appended(calls, calls.stub.ResumeFlow, request)
    run.output.show(of_result(result, context.command_id), results.result)
    return DONE


async def _statuses(run: Run, flow_ids: Sequence[str]) -> dict[str, router_pb2.FlowStatus]:
    """What the router says of these flows; nothing, and a word about it, without its address.

    Raises Unavailable, and what a refusal is.
    """
    if run.profile().router_address is None:
        run.output.say(
            "the profile has no router_address: only what the log says of the flows is shown"
        )
        return {}
    statuses: dict[str, router_pb2.FlowStatus] = {}
    away: set[str] = set()
    async with run.router() as router:
        for begin in range(0, len(flow_ids), ASKED_MAX):
            request = router_pb2.GetFlowStatusRequest(flow_ids=flow_ids[begin : begin + ASKED_MAX])
            answer = await router.ask(router.stub.GetFlowStatus, request)
            statuses |= {one.flow_id: one for one in answer.flows}
            away |= set(answer.unreachable_workers)
    if away:
        run.output.say(f"no answer from {', '.join(sorted(away))}: what they know of flows lacks")
    return statuses
