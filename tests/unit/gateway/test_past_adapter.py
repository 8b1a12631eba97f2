"""`GrpcPast` on a real socket: a registry that answers as it should, and as it should not."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from catalog import snapshot
from catalog.catalog import Catalog
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows.registry.v1 import registry_pb2_grpc
from gateway.adapters.grpc_past import GrpcPast
from gateway.domain.moment import AsOf
from kernel.errors import (
    EventflowsError,
    InvalidInput,
    NotFound,
    Overloaded,
    StateForbids,
    TooLarge,
    Unavailable,
)
from servicekit.identity import Identities, ServiceToken
from servicekit.rpc import RpcService, rpc_channel, rpc_server
from servicekit.settings import HostPort

TOKEN = ServiceToken(secrets.token_urlsafe(32))
NOBODY = HostPort("127.0.0.1", 9)  # the discard port: nobody listens
WAIT_S = 10.0
NOON = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)

Script = Callable[[pb.ReadCatalogRequest], AsyncIterator[pb.CatalogPart]]


class ScriptedRegistry(registry_pb2_grpc.RegistryServicer):
    """Answers ReadCatalog as a test says; `ended` is set when a call is over, however."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.asked: list[pb.ReadCatalogRequest] = []
        self.ended = asyncio.Event()

    async def ReadCatalog(  # noqa: N802
        self, request: pb.ReadCatalogRequest, context: Any
    ) -> AsyncIterator[pb.CatalogPart]:
        self.asked.append(request)
        try:
            async for part in self._script(request):
                yield part
        finally:
            self.ended.set()


@asynccontextmanager
async def past_of(script: Script) -> AsyncIterator[tuple[GrpcPast, ScriptedRegistry]]:
    registry = ScriptedRegistry(script)  # type: ignore[abstract]  # the rest is UNIMPLEMENTED
    server = rpc_server(
        listen=HostPort("127.0.0.1", 0),
        identities=Identities.of({"gateway": TOKEN.sha256_hex}),
        services=[
            RpcService(
                pb.DESCRIPTOR.services_by_name["Registry"],
                registry_pb2_grpc.add_RegistryServicer_to_server,
                registry,
            )
        ],
    )
    async with server, rpc_channel(server.address, TOKEN) as channel:
        yield GrpcPast(channel), registry


def moment(position: int = 7) -> pb.Moment:
    message = pb.Moment(position=position)
    message.time.FromDatetime(NOON)
    return message


async def whole(_request: pb.ReadCatalogRequest) -> AsyncIterator[pb.CatalogPart]:
    """A whole catalog, the moment with its first part, cut in small pieces."""
    data = b"".join(snapshot.dump(Catalog()))
    for start in range(0, len(data), 20):
        part = pb.CatalogPart(data=data[start : start + 20])
        if not start:
            part.moment.CopyFrom(moment())
        yield part


async def whole_answer(past: GrpcPast, as_of: AsOf = 7) -> Catalog:
    async with asyncio.timeout(WAIT_S), past.at(as_of) as found:
        return await found.restored()


@pytest.mark.parametrize("as_of", [0, 7, NOON])
async def test_a_catalog_comes_with_the_moment_that_was_resolved(as_of: AsOf) -> None:
    async with past_of(whole) as (past, registry):
        async with past.at(as_of) as found:
            assert (found.moment.position, found.moment.time) == (7, NOON)
            assert (await found.restored()).position == 0
    (asked,) = registry.asked
    assert asked.fold == snapshot.FOLD
    given = asked.as_of.WhichOneof("moment")
    assert given == ("time" if isinstance(as_of, datetime) else "position")
    if given == "time":
        assert asked.as_of.time.ToDatetime(tzinfo=UTC) == as_of


async def test_leaving_without_reading_ends_the_stream() -> None:
    async def endless(_request: pb.ReadCatalogRequest) -> AsyncIterator[pb.CatalogPart]:
        yield pb.CatalogPart(moment=moment(), data=b"x")
        await asyncio.Event().wait()

    async with past_of(endless) as (past, registry):
        async with asyncio.timeout(WAIT_S):
            async with past.at(7) as found:
                assert found.moment.position == 7
            await registry.ended.wait()


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (InvalidInput("the log ends at 3: name an earlier one"), InvalidInput),
        (NotFound("it was archived: name a later one"), InvalidInput),
        (StateForbids("it was archived: begin after it"), InvalidInput),
        (StateForbids("another fold", code=snapshot.CODE_OTHER_FOLD), Unavailable),
        (Overloaded("too many", retry_after_s=4.0), Overloaded),
        (Unavailable("stopping"), Unavailable),
    ],
)
async def test_a_refusal_says_what_its_caller_can_do(
    raised: EventflowsError, told: type[EventflowsError]
) -> None:
    async def refuses(_request: pb.ReadCatalogRequest) -> AsyncIterator[pb.CatalogPart]:
        raise raised
        yield pb.CatalogPart()

    async with past_of(refuses) as (past, _):
        with pytest.raises(told) as refused:
            await whole_answer(past)
    assert type(refused.value) is told
    if told is InvalidInput:
        assert refused.value.message == raised.message
    if isinstance(refused.value, Overloaded):
        assert refused.value.retry_after_s == 4.0


async def nothing(_request: pb.ReadCatalogRequest) -> AsyncIterator[pb.CatalogPart]:
    return
    yield pb.CatalogPart()  # makes it a stream


async def cut_off(request: pb.ReadCatalogRequest) -> AsyncIterator[pb.CatalogPart]:
    parts = [part async for part in whole(request)]
    for part in parts[:-1]:
        yield part


async def damaged(request: pb.ReadCatalogRequest) -> AsyncIterator[pb.CatalogPart]:
    async for part in whole(request):
        yield pb.CatalogPart(moment=part.moment, data=part.data.replace(b"catalog", b"catalyg"))


async def broken(request: pb.ReadCatalogRequest) -> AsyncIterator[pb.CatalogPart]:
    yield pb.CatalogPart(moment=moment(), data=b"x")
    raise Unavailable("stopping")


@pytest.mark.parametrize("script", [nothing, cut_off, damaged, broken])
async def test_what_is_not_a_whole_catalog_is_unavailable(script: Script) -> None:
    async with past_of(script) as (past, _):
        with pytest.raises(Unavailable):
            await whole_answer(past)


async def test_a_catalog_that_is_too_large_is_refused_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "SNAPSHOT_BYTES_MAX", 100_000)
    sent: list[int] = []

    async def large(_request: pb.ReadCatalogRequest) -> AsyncIterator[pb.CatalogPart]:
        for number in range(1_000):
            sent.append(number)
            yield pb.CatalogPart(moment=moment(), data=bytes(10_000))

    async with past_of(large) as (past, registry):
        with pytest.raises(TooLarge):
            await whole_answer(past)
        async with asyncio.timeout(WAIT_S):
            await registry.ended.wait()
    assert len(sent) < 1_000


async def test_a_registry_that_is_away_is_unavailable() -> None:
    async with rpc_channel(NOBODY, TOKEN) as channel:
        with pytest.raises(Unavailable, match=r"the past cannot be read .*: try again later"):
            await whole_answer(GrpcPast(channel))
