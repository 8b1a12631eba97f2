"""`dlq list`, `show`, `redrive`, `purge`: what flows gave up on."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID, uuid5

import typer
from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1.events_pb2 import FLOW_KIND_PUBLISHER, DeadLetterSelection
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows.router.v1 import router_pb2
from kernel.errors import InvalidInput, NotFound

from eventflows_cli.app import dlq
from eventflows_cli.appending import CommandId, appended, command_id_of, of_result
from eventflows_cli.calls import Calls
from eventflows_cli.commands.flows import Which
from eventflows_cli.find import found_flow, is_id
from eventflows_cli.json_shapes import Json
from eventflows_cli.kinds import Kind
from eventflows_cli.letter_shapes import of_letter, of_whole_letter
from eventflows_cli.names import Names
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.selecting import by_options, with_selection
from eventflows_cli.views import letters as view
from eventflows_cli.words import LetterState

PAGE_SIZE_MAX: Final = 500
RATE_DEFAULT_PER_S: Final = 10.0
RATE_MIN_PER_S: Final = 0.01
RATE_MAX_PER_S: Final = 1_000.0
LATEST: Final = "latest"
"""The version that was published last when it is asked for, as it is of a flow."""
LOOKED_THROUGH: Final = (
    "the newest records of the topic were looked through, up to a limit: there may be more"
)
TASK_NAMESPACE: Final = UUID("b7d1c1f0-53c2-4f1e-9a55-0f6f5e3d9c21")
"""A repeated command makes the same task: its id follows from the command's."""

OwnTopic = Annotated[
    bool, typer.Option("--own-topic", help="Look through the flow's own dead letter topic.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many there are.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@command(dlq, "list")
@with_selection
async def list_(
    run: Run,
    *,
    which: Annotated[
        str | None, typer.Argument(metavar="FLOW", help="Of this flow; default: of all.")
    ] = None,
    state: Annotated[LetterState, typer.Option(help="How far they are.")] = LetterState.OPEN,
    number: Annotated[
        int, typer.Option("--number", "-n", min=1, help="At most so many, the newest.")
    ] = 50,
    own_topic: OwnTopic = False,
    chosen: DeadLetterSelection,
) -> int:
    """List dead letters, the newest first."""
    if own_topic and which is None:
        raise InvalidInput("--own-topic needs a FLOW: `eventflows flow list` lists them")
    request = router_pb2.ListDeadLettersRequest(
        flow_id="" if which is None else await _flow_id(run, which),
        selection=chosen,
        state=router_pb2.DeadLetterState.Value(f"DEAD_LETTER_STATE_{state.name}"),
        own_topic=own_topic,
    )
    found: list[router_pb2.DeadLetter] = []
    truncated = False
    async with run.router() as router:
        while len(found) < number:
            request.page_size = min(PAGE_SIZE_MAX, number - len(found))
            page = await router.ask(router.stub.ListDeadLetters, request)
            found += page.letters
            truncated = truncated or page.truncated
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
    if truncated:
        run.output.say(LOOKED_THROUGH)
    document = {"letters": [of_letter(one) for one in found], "truncated": truncated}
    run.output.show(
        document, lambda given: view.letters(given, None), lines=lambda given: given["letters"]
    )
    return DONE


@command(dlq, "show")
async def show(
    run: Run,
    *,
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As `dlq list` shows it.")],
    flow: Annotated[
        str | None, typer.Option(metavar="FLOW", help="Needed with --own-topic.")
    ] = None,
    own_topic: OwnTopic = False,
) -> int:
    """Show one dead letter whole: the record with its headers, and what its attempts came to."""
    if own_topic and flow is None:
        raise InvalidInput("--own-topic needs --flow: `eventflows flow list` lists them")
    request = router_pb2.GetDeadLetterRequest(
        letter_id=letter_id,
        flow_id="" if flow is None else await _flow_id(run, flow),
        own_topic=own_topic,
    )
    async with run.router() as router:
        answer = await router.ask(router.stub.GetDeadLetter, request)
    run.output.show(of_whole_letter(answer), lambda given: view.letter(given, None))
    return DONE


@command(dlq, "redrive")
@with_selection
async def redrive(
    run: Run,
    *,
    which: Which,
    version: Annotated[
        str, typer.Option(help="Of the algorithm, or latest; default: the flow's.")
    ] = "",
    rate: Annotated[
        float,
        typer.Option(
            min=RATE_MIN_PER_S,
            max=RATE_MAX_PER_S,
            metavar="PER_SECOND",
            help="At most so many a second; fewer where a key has several, or runs take long.",
        ),
    ] = RATE_DEFAULT_PER_S,
    own_topic: Annotated[
        bool, typer.Option("--own-topic", help="Those in the flow's own dead letter topic.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    command_id: CommandId = None,
    chosen: DeadLetterSelection,
) -> int:
    """Send dead letters of a flow through it again. `dlq tasks` shows how far that is."""
    async with run.registry() as calls:
        flow, name = await _named(calls, which)
        version = await _published(calls, flow, version)
        wanted = router_pb2.CountDeadLettersRequest(
            flow_id=flow.flow_id, selection=chosen, own_topic=own_topic
        )
        if dry_run:
            return await _count(run, wanted)
        target = f"version {version}" if version else "the flow's version"
        where = " in its own topic" if own_topic else ""
        await _confirm(run, f"Redrive {{}} of {name}{where} to {target}?", wanted, yes=yes)
        context = pb.CommandContext(command_id=command_id_of(command_id))
        request = pb.RequestRedriveRequest(
            context=context,
            dead_letter_task_id=_task_id(context),
            flow_id=flow.flow_id,
            selection=chosen,
            algorithm_version=version,
            rate_per_s=rate,
            own_topic=own_topic,
        )
        with by_options():
            result = await appended(calls, calls.stub.RequestRedrive, request)
    run.output.show(of_result(result, context.command_id), view.task_result)
    return DONE


@command(dlq, "purge")
@with_selection
async def purge(
    run: Run,
    *,
    which: Which,
    own_topic: Annotated[bool, typer.Option("--own-topic", hidden=True)] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    command_id: CommandId = None,
    chosen: DeadLetterSelection,
) -> int:
    """Forget dead letters of a flow for good."""
    if own_topic:
        raise InvalidInput(
            "a purge is for the internal topic: what a flow's own topic keeps is the customer's to "
            "set, by its retention"
        )
    async with run.registry() as calls:
        flow, name = await _named(calls, which)
        wanted = router_pb2.CountDeadLettersRequest(flow_id=flow.flow_id, selection=chosen)
        if dry_run:
            return await _count(run, wanted)
        await _confirm(run, f"Purge {{}} of {name} for good?", wanted, yes=yes)
        context = pb.CommandContext(command_id=command_id_of(command_id))
        request = pb.RequestPurgeRequest(
            context=context,
            dead_letter_task_id=_task_id(context),
            flow_id=flow.flow_id,
            selection=chosen,
        )
        with by_options():
            result = await appended(calls, calls.stub.RequestPurge, request)
    run.output.show(of_result(result, context.command_id), view.task_result)
    return DONE


async def _flow_id(run: Run, which: str) -> str:
    """An id may also be that of a flow that is gone: its dead letters are still there."""
    if is_id(which):
        return str(UUID(which))
    async with run.registry() as calls:
        return (await found_flow(calls, which)).flow_id


async def _named(calls: Calls, which: str) -> tuple[catalog_pb2.Flow, str]:
    flow = await found_flow(calls, which)
    return flow, await Names(calls).of_aggregate(catalog_pb2.Aggregate(flow=flow))


async def _published(calls: Calls, flow: catalog_pb2.Flow, version: str) -> str:
    """The version that is meant, checked as the registry does when it is asked in earnest: a dry
    run never asks it. Raises NotFound for what is not published, InvalidInput for a flow that runs
    no algorithm."""
    if not version:
        return ""
    if flow.kind == FLOW_KIND_PUBLISHER:
        raise InvalidInput("--version: a publisher flow writes to a topic and runs no algorithm")
    run_id = flow.target_algorithm_id or flow.algorithm_id
    request = pb.GetAggregateRequest(kind=Kind.ALGORITHM.number, id=run_id)
    answer = await calls.ask(calls.stub.GetAggregate, request)
    published = [one.version for one in answer.aggregate.algorithm.versions]
    if version == LATEST and published:
        return str(published[-1])
    if version not in published:
        newest = f", the newest is {published[-1]}" if published else ""
        raise NotFound(f"--version: there is no published version {version} of it{newest}")
    return version


async def _counted(
    run: Run, wanted: router_pb2.CountDeadLettersRequest
) -> router_pb2.CountDeadLettersResponse:
    async with run.router() as router:
        return await router.ask(router.stub.CountDeadLetters, wanted)  # type: ignore[no-any-return]


async def _count(run: Run, wanted: router_pb2.CountDeadLettersRequest) -> int:
    counted = await _counted(run, wanted)
    if counted.truncated:
        run.output.say(LOOKED_THROUGH)
    document: Json = {
        "flow_id": wanted.flow_id,
        "letters": int(counted.letters),
        "truncated": counted.truncated,
    }
    run.output.show(document, view.count)
    return DONE


async def _confirm(
    run: Run, question: str, wanted: router_pb2.CountDeadLettersRequest, *, yes: bool
) -> None:
    """Ask with the number of letters in the question; with --yes the router is not needed."""
    if not yes:
        counted = await _counted(run, wanted)
        at_least = "at least " if counted.truncated else ""
        plural = "s" if counted.letters != 1 else ""
        question = question.format(f"{at_least}{counted.letters:,} dead letter{plural}")
    await run.confirm(question, yes=yes)


def _task_id(context: pb.CommandContext) -> str:
    return str(uuid5(TASK_NAMESPACE, context.command_id))
