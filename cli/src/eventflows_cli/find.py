"""Things by kind: all of them as of a moment, or the one that somebody means by a name or an id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from eventflows.catalog.v1 import catalog_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput, NotFound

from eventflows_cli.calls import Calls
from eventflows_cli.kinds import Kind
from eventflows_cli.names import Names

PAGE_SIZE: Final = 1_000
"""The registry's own limit."""


async def listed(
    calls: Calls, kind: Kind, then: pb.AsOf | None
) -> AsyncIterator[pb.ListAggregatesResponse]:
    """All pages of a kind, at least one. Raises kernel errors."""
    token = ""
    while True:
        request = pb.ListAggregatesRequest(
            kind=kind.number, as_of=then, page_size=PAGE_SIZE, page_token=token
        )
        page = await calls.ask(calls.stub.ListAggregates, request)
        yield page
        token = page.next_page_token
        if not token:
            return


async def found_id(calls: Calls, kind: Kind, which: str, then: pb.AsOf | None) -> str:
    """The id behind an id or a name as `log at` lists it.

    Raises NotFound, and InvalidInput when several have that name.
    """
    if is_id(which):
        return str(UUID(which))
    names = Names(calls, as_of=then)
    found = []
    async for page in listed(calls, kind, then):
        for each in page.aggregates:
            if await names.of_aggregate(each) == which:
                state = getattr(each, str(each.WhichOneof("state")))
                found.append(str(getattr(state, f"{kind.value.replace('-', '_')}_id")))
    if not found:
        raise NotFound(
            f"there is no {kind.value} with the name {which}: "
            f"`eventflows log at now {kind.value}` lists them"
        )
    if len(found) > 1:
        raise InvalidInput(f"several are called {which}: give one of the ids {', '.join(found)}")
    return found[0]


def is_id(which: str) -> bool:
    """Is it an id, and not a name?"""
    try:
        UUID(which)
    except ValueError:
        return False
    return True


async def found_flow(calls: Calls, which: str) -> catalog_pb2.Flow:
    """The flow that is meant by an id, by its name as `flow list` has it, or by its algorithm,
    `owner/name` or `owner/name/topic`.

    Raises NotFound, and InvalidInput when several fit.
    """
    if is_id(which):
        request = pb.GetAggregateRequest(kind=Kind.FLOW.number, id=str(UUID(which)))
        answer = await calls.ask(calls.stub.GetAggregate, request)
        if not answer.HasField("aggregate"):
            raise _no_flow(which)
        return answer.aggregate.flow  # type: ignore[no-any-return]
    names = Names(calls)
    found: list[catalog_pb2.Flow] = []
    async for page in listed(calls, Kind.FLOW, None):
        for each in page.aggregates:
            one = each.flow
            algorithm = await names.of(Kind.ALGORITHM, one.algorithm_id)
            words = (algorithm, f"{algorithm}/{one.channel.name}", await names.of_aggregate(each))
            if which in words:
                found.append(one)
    if not found:
        raise _no_flow(which)
    if len(found) > 1:
        ids = ", ".join(one.flow_id for one in found)
        raise InvalidInput(f"several flows are meant by {which}: give one of the ids {ids}")
    return found[0]


def _no_flow(which: str) -> NotFound:
    return NotFound(f"there is no flow {which}: `eventflows flow list` lists them")
