"""The gateway's adapters on real sockets: an HTTP runner, gRPC workers that come and go."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from eventflows.registry.v1 import registry_pb2
from eventflows.router.v1 import router_pb2, router_pb2_grpc
from gateway.adapters.grpc_registry import GrpcRegistry
from gateway.adapters.grpc_router import GrpcRouter
from gateway.adapters.http_runner import HttpRunner
from gateway.ports import RunRequest
from kernel.errors import (
    EventflowsError,
    NotFound,
    StateForbids,
    TimedOut,
    TooLarge,
    Unavailable,
)
from servicekit.identity import Identities, ServiceToken
from servicekit.rpc import (
    RECORD_ANSWER_BYTES_MAX,
    RpcServer,
    RpcService,
    rpc_channel,
    rpc_server,
)
from servicekit.settings import HostPort

TOKEN = ServiceToken(secrets.token_urlsafe(32))
NOBODY = HostPort("127.0.0.1", 9)  # the discard port: nobody listens


async def body(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def request(url_query: str = "", *, timeout_s: float = 10.0, **fields: Any) -> RunRequest:
    given = {"body": body(b"1"), "headers": {"content-type": "application/json"}, **fields}
    return RunRequest(
        owner="demo", name="Hello", version="0.1.0", query=url_query, timeout_s=timeout_s, **given
    )


@asynccontextmanager
async def runner_at(handler: Any) -> AsyncIterator[HttpRunner]:
    """An HttpRunner whose runner is this handler; None: nobody is there."""
    async with AsyncExitStack() as exits:
        url = f"http://{NOBODY}"
        if handler is not None:
            app = web.Application(client_max_size=1024)
            app.router.add_post("/v1/algo/{owner}/{name}/{version}", handler)
            served = web.AppRunner(app)
            await served.setup()
            exits.push_async_callback(served.cleanup)
            await web.TCPSite(served, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{served.addresses[0][1]}"
        session = await exits.enter_async_context(
            aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        )
        channel = await exits.enter_async_context(rpc_channel(NOBODY, TOKEN))
        yield HttpRunner(session=session, url=url, token=TOKEN, channel=channel)


async def test_everything_of_a_run_arrives_and_everything_of_its_answer_returns() -> None:
    seen: dict[str, Any] = {}

    async def handler(got: web.Request) -> web.Response:
        seen.update(path=got.raw_path, body=await got.read(), headers=dict(got.headers))
        return web.Response(
            status=429,
            body=b"\xff\x00",
            headers={"Retry-After": "3", "X-Error-Message": "full", "Set-Cookie": "a=b"},
            content_type="application/octet-stream",
        )

    async with runner_at(handler) as runner:
        asked = request(
            "output=raw&x=%2B+",
            body=body(b"12", b"34"),
            headers={"X-Eventflows-Account": "acc", "content-type": "text/plain"},
        )
        async with runner.run(asked) as answer:
            content = b"".join([chunk async for chunk in answer.body])
    assert (answer.status, content) == (429, b"\xff\x00")
    assert {name.lower(): value for name, value in answer.headers.items()} == {
        "content-type": "application/octet-stream",
        "retry-after": "3",
        "x-error-message": "full",
    }
    assert seen["path"] == "/v1/algo/demo/Hello/0.1.0?output=raw&x=%2B+"
    assert seen["body"] == b"1234"
    assert seen["headers"]["Authorization"] == TOKEN.authorization
    assert seen["headers"]["X-Eventflows-Account"] == "acc"
    assert seen["headers"]["Content-Type"] == "text/plain"


async def test_a_runner_that_is_away_is_unavailable() -> None:
    async with runner_at(None) as runner:
        with pytest.raises(Unavailable):
            async with runner.run(request()):
                pass


async def test_a_runner_that_says_nothing_times_out() -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        asked.set()
        await release.wait()
        return web.Response()

    async with runner_at(handler) as runner:
        with pytest.raises(TimedOut):
            async with runner.run(request(timeout_s=0.2)):
                pass
        assert asked.is_set()
        release.set()


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_of_our_own_token_is_no_fault_of_the_caller(status: int) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async with runner_at(handler) as runner:
        with pytest.raises(EventflowsError) as refused:
            async with runner.run(request()):
                pass
        assert type(refused.value) is EventflowsError


async def test_what_is_wrong_with_the_body_is_told_as_it_is() -> None:
    async def handler(got: web.Request) -> web.Response:
        await got.read()
        return web.Response()

    async def too_much() -> AsyncIterator[bytes]:
        yield b"1"
        raise TooLarge("too much")

    async with runner_at(handler) as runner:
        with pytest.raises(TooLarge):
            async with runner.run(request(body=too_much())):
                pass


async def test_an_answer_that_breaks_off_is_an_error_not_an_end() -> None:
    async def handler(got: web.Request) -> web.StreamResponse:
        await got.read()
        answer = web.StreamResponse(headers={"Content-Length": "10"})
        await answer.prepare(got)
        await answer.write(b"12345")
        assert got.transport is not None
        got.transport.abort()
        return answer

    async with runner_at(handler) as runner:
        with pytest.raises(Unavailable):
            await whole_answer(runner)


async def whole_answer(runner: HttpRunner) -> bytes:
    async with runner.run(request()) as answer:
        return b"".join([chunk async for chunk in answer.body])


LARGE = "0-24"
RECORD_BYTES_MAX = 24 * 1024 * 1024
"""The router takes larger records apart from the others."""


class Worker(router_pb2_grpc.RouterServicer):
    """A router worker that answers, or raises."""

    def __init__(self, error: EventflowsError | None = None) -> None:
        self.error = error
        self.asked = 0

    async def ListTopics(  # noqa: N802  gRPC's name
        self, request: router_pb2.ListTopicsRequest, context: Any
    ) -> router_pb2.ListTopicsResponse:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return router_pb2.ListTopicsResponse(topics=[router_pb2.Topic(name="images")])

    async def TestConnection(  # noqa: N802
        self, request: router_pb2.TestConnectionRequest, context: Any
    ) -> router_pb2.TestConnectionResponse:
        return router_pb2.TestConnectionResponse(connected=True)

    async def GetFlowStatus(  # noqa: N802
        self, request: router_pb2.GetFlowStatusRequest, context: Any
    ) -> router_pb2.GetFlowStatusResponse:
        return router_pb2.GetFlowStatusResponse()

    async def ListDeadLetters(  # noqa: N802
        self, request: router_pb2.ListDeadLettersRequest, context: Any
    ) -> router_pb2.ListDeadLettersResponse:
        return router_pb2.ListDeadLettersResponse(next_page_token=request.flow_id)

    async def GetDeadLetter(  # noqa: N802
        self, request: router_pb2.GetDeadLetterRequest, context: Any
    ) -> router_pb2.GetDeadLetterResponse:
        if request.letter_id != LARGE:
            raise NotFound(f"there is no {request.letter_id}")
        return router_pb2.GetDeadLetterResponse(value=bytes(RECORD_BYTES_MAX), has_value=True)

    async def CountDeadLetters(  # noqa: N802
        self, request: router_pb2.CountDeadLettersRequest, context: Any
    ) -> router_pb2.CountDeadLettersResponse:
        return router_pb2.CountDeadLettersResponse(letters=len(request.selection.letter_ids))

    async def GetDeadLetterTask(  # noqa: N802
        self, request: router_pb2.GetDeadLetterTaskRequest, context: Any
    ) -> router_pb2.DeadLetterTaskProgress:
        return router_pb2.DeadLetterTaskProgress(dead_letter_task_id=request.dead_letter_task_id)


def served(worker: Worker) -> RpcServer:
    return rpc_server(
        listen=HostPort("127.0.0.1", 0),
        identities=Identities.of({"gateway": TOKEN.sha256_hex}),
        services=[
            RpcService(
                router_pb2.DESCRIPTOR.services_by_name["Router"],
                router_pb2_grpc.add_RouterServicer_to_server,
                worker,
            )
        ],
        answer_bytes_max=RECORD_ANSWER_BYTES_MAX,
    )


async def test_the_next_worker_is_asked_when_one_is_away_and_then_stays_the_first() -> None:
    away, here = Worker(Unavailable("stopping")), Worker()
    async with AsyncExitStack() as exits:
        servers = [await exits.enter_async_context(served(one)) for one in (away, here)]
        addresses = [NOBODY, *(server.address for server in servers)]
        channels = [
            await exits.enter_async_context(rpc_channel(address, TOKEN)) for address in addresses
        ]
        router = GrpcRouter(channels)
        for _ in range(3):
            answer = await router.list_topics("connection")
            assert [topic.name for topic in answer.topics] == ["images"]
    assert (away.asked, here.asked) == (1, 3)


@pytest.mark.parametrize("error", [StateForbids("no broker answers"), NotFound("no connection")])
async def test_a_refusal_is_an_answer_and_asks_nobody_else(error: EventflowsError) -> None:
    first, second = Worker(error), Worker()
    async with AsyncExitStack() as exits:
        servers = [await exits.enter_async_context(served(one)) for one in (first, second)]
        channels = [
            await exits.enter_async_context(rpc_channel(server.address, TOKEN))
            for server in servers
        ]
        with pytest.raises(type(error), match=error.message):
            await GrpcRouter(channels).list_topics("connection")
    assert second.asked == 0


async def test_without_the_registry_it_is_told_that_only_reads_go_on() -> None:
    async with rpc_channel(NOBODY, TOKEN) as channel:
        with pytest.raises(
            Unavailable, match=r"changes are not possible .* reads go on: try again"
        ):
            await GrpcRegistry(channel).send(registry_pb2.CreateAccountRequest())


async def test_no_worker_at_all_is_unavailable() -> None:
    async with rpc_channel(NOBODY, TOKEN) as channel:
        with pytest.raises(Unavailable, match="router"):
            await GrpcRouter([channel, channel]).flow_status([])


async def test_questions_about_dead_letters_reach_a_worker() -> None:
    async with AsyncExitStack() as exits:
        server = await exits.enter_async_context(served(Worker()))
        router = GrpcRouter([await exits.enter_async_context(rpc_channel(server.address, TOKEN))])
        page = await router.list_dead_letters(router_pb2.ListDeadLettersRequest(flow_id="f-1"))
        assert page.next_page_token == "f-1"
        with pytest.raises(NotFound, match="there is no 0-1"):
            await router.get_dead_letter(router_pb2.GetDeadLetterRequest(letter_id="0-1"))
        counting = router_pb2.CountDeadLettersRequest()
        counting.selection.letter_ids.extend(["0-1", "0-2"])
        assert (await router.count_dead_letters(counting)).letters == 2
        assert (await router.dead_letter_task("t-1")).dead_letter_task_id == "t-1"


async def test_the_largest_record_is_looked_into_by_those_who_ask_for_such_answers() -> None:
    request = router_pb2.GetDeadLetterRequest(letter_id=LARGE)
    async with AsyncExitStack() as exits:
        address = (await exits.enter_async_context(served(Worker()))).address
        plain = await exits.enter_async_context(rpc_channel(address, TOKEN))
        large = await exits.enter_async_context(
            rpc_channel(address, TOKEN, answer_bytes_max=RECORD_ANSWER_BYTES_MAX)
        )
        answer = await GrpcRouter([large]).get_dead_letter(request)
        assert len(answer.value) == RECORD_BYTES_MAX
        with pytest.raises(TooLarge):
            await GrpcRouter([plain]).get_dead_letter(request)
