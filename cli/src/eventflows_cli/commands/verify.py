"""`log verify`: recompute the hash chain, by the registry from its rows or here from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import EventflowsError, InvalidInput
from sealedlog.verification import ChainPoint

from eventflows_cli import moments
from eventflows_cli.app import log
from eventflows_cli.exit_codes import REFUSED
from eventflows_cli.export_check import verdict
from eventflows_cli.json_shapes import Json
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.views import verification as view


@command(log, "verify")
async def verify(
    run: Run,
    *,
    file: Annotated[
        Path | None, typer.Option(help="An export file instead of the registry's log.")
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Begin after this position; needs --hash.")] = 0,
    hash_: Annotated[
        str, typer.Option("--hash", metavar="HEX", help="The chain's hash at --after.")
    ] = "",
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="POSITION:HEX", help="A head that was kept elsewhere: it must be in the log."
        ),
    ] = None,
) -> int:
    """Recompute the hash chain and say whether the log is what was sealed.

    Ends with 1 when it is not.
    """
    if bool(after) != bool(hash_):
        raise InvalidInput("--after and --hash belong together: a position and the hash there")
    request = pb.VerifyLogRequest(after_position=after)
    if hash_:
        request.after_hash = moments.chain_hash(hash_)
    if expect is not None:
        request.expected_position, request.expected_hash = moments.head(expect)
    if file is None:
        document = await _by_registry(run, request)
    else:
        if after:
            raise InvalidInput("a file is verified from its own beginning: leave --after out")
        with run.output.progress("verifying") as step:
            document = await verdict(file, _kept_head(expect), step)
    run.output.show(document, view.verdict)
    if not document["intact"]:
        run.output.say(f"eventflows: the log is not what was sealed: {document['problem']}")
        return REFUSED
    return DONE


def _kept_head(text: str | None) -> ChainPoint | None:
    if text is None:
        return None
    position, hash_ = moments.head(text)
    return ChainPoint(position=position, hash=hash_)


async def _by_registry(run: Run, request: pb.VerifyLogRequest) -> Json:
    last = pb.VerifyLogProgress()
    async with run.registry() as calls:
        head = (await calls.ask(calls.stub.GetHead, pb.GetHeadRequest())).position
        with run.output.progress("verifying") as step:
            async for last in calls.stream(calls.stub.VerifyLog, request):
                step(last.events, head - request.after_position)
    if not last.done:
        raise EventflowsError("the registry ended the verification without a verdict: try again")
    return {
        "of": "registry",
        "intact": last.intact,
        "events": last.events,
        "seals": last.seals,
        "head": {"position": last.head_position, "hash": last.head_hash.hex()},
        "problem": last.problem,
    }
