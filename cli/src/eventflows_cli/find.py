"""Things by kind: all of them as of a moment, or the one that somebody means by a name or an id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

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
    try:
        return str(UUID(which))
    except ValueError:
        pass
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
