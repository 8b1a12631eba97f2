"""The embedded REST server by itself: its port, its stop, what HTTP asks of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from devstack.ports import free_ports
from gateway.entrypoints.rest.server import RestServer
from kernel.errors import Unavailable
from servicekit.settings import HostPort, SettingsError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

WAIT_S = 10.0


async def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def broken(_: Request) -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one"
        raise Unavailable("the runner went away")

    return StreamingResponse(chunks())


@asynccontextmanager
async def served() -> AsyncIterator[HostPort]:
    (port,) = free_ports(1)
    listen, stop = HostPort("127.0.0.1", port), asyncio.Event()
    server = RestServer(
        Starlette(routes=[Route("/", hello), Route("/broken", broken)]), listen=listen
    )
    serving = asyncio.create_task(server.serve(stop))
    async with asyncio.timeout(WAIT_S):
        while not serving.done():
            try:
                _, writer = await asyncio.open_connection(listen.host, listen.port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                break
    yield listen
    stop.set()
    async with asyncio.timeout(WAIT_S):
        await serving


async def test_a_port_that_is_taken_stops_the_start() -> None:
    async with served() as listen:
        second = RestServer(Starlette(), listen=listen)
        with pytest.raises(SettingsError, match="cannot be listened on"):
            await second.serve(asyncio.Event())


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    async with served() as listen, aiohttp.ClientSession() as session:
        async with session.head(f"http://{listen}/") as answer:
            assert answer.status == 200
            assert answer.headers["content-length"] == "5"
            assert await answer.read() == b""
        async with session.get(f"http://{listen}/") as answer:
            assert await answer.read() == b"hello"


async def test_an_answer_that_breaks_off_does_not_look_whole() -> None:
    async with served() as listen, aiohttp.ClientSession() as session:
        async with session.get(f"http://{listen}/broken") as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        async with session.get(f"http://{listen}/") as answer:
            assert await answer.read() == b"hello"
