"""Our HTTP client against three servers by others: aiohttp, granian, the standard library."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from devstack.authority import write_authority
from router.adapters.http_answer import HttpAnswer
from router.adapters.http_client import HttpPool, PoolLimits
from router.adapters.http_connection import CONTINUE_BODY_BYTES, NotSent

from tests.integration.router_http.conftest import Scenario, running_server
from tests.support.http_scripts import head_of

Play = Callable[[Scenario], None]
CALLS = 400
CONNECTIONS = 20


@asynccontextmanager
async def pool_of(
    origin: str, *, tls: ssl.SSLContext | None = None, connections_max: int = 50
) -> AsyncIterator[HttpPool]:
    limits = PoolLimits(connections_max=connections_max)
    pool = HttpPool(origin, ssl_context=tls, limits=limits)
    try:
        yield pool
    finally:
        await pool.close()
        assert (pool.open_count, pool.idle_count, pool.waiting_count) == (0, 0, 0)


async def post(pool: HttpPool, path: str, body: bytes = b"") -> HttpAnswer:
    return await pool.call(head_of(pool, path, len(body)), body, timeout_s=20)


@pytest.mark.parametrize("path", ["/echo", "/chunked"])
@pytest.mark.parametrize("size", [0, 3, 200, 70_000])
def test_a_body_goes_there_and_comes_back(server: str, play: Play, path: str, size: int) -> None:
    async def scenario() -> None:
        async with pool_of(server) as pool:
            body = bytes(number % 251 for number in range(size))
            for _ in range(3):
                answer = await post(pool, path, body)
                assert (answer.status, answer.body) == (200, body)
                assert answer.headers[b"x-sent"] == str(size).encode()
            assert (pool.open_count, pool.idle_count) == (1, 1)

    play(scenario())


def test_a_large_body_asks_first_and_goes_in_slices(server: str, play: Play) -> None:
    async def scenario() -> None:
        async with pool_of(server) as pool:
            body = b"0123456789abcdef" * (CONTINUE_BODY_BYTES // 4)
            for _ in range(2):
                answer = await post(pool, "/echo", body)
                assert (answer.status, answer.body == body) == (200, True)

    play(scenario())


def test_a_large_answer_comes_whole(server: str, play: Play) -> None:
    async def scenario() -> None:
        async with pool_of(server) as pool:
            answer = await post(pool, "/large/15000000")
            assert len(answer.body) == 15_000_000

    play(scenario())


@pytest.mark.parametrize("status", [204, 304, 404, 429, 500, 503])
def test_every_status_is_an_answer_and_the_connection_serves_again(
    server: str, play: Play, status: int
) -> None:
    async def scenario() -> None:
        async with pool_of(server) as pool:
            answer = await post(pool, f"/status/{status}", b"x")
            assert (answer.status, answer.body) == (status, b"")
            assert (await post(pool, "/echo", b"next")).body == b"next"
            assert pool.open_count == 1

    play(scenario())


def test_a_server_that_says_close_is_believed(server: str, play: Play) -> None:
    async def scenario() -> None:
        async with pool_of(server) as pool:
            for _ in range(3):
                assert (await post(pool, "/close", b"x")).body == b"x"
                assert pool.open_count == 0

    play(scenario())


def test_many_calls_share_few_connections_and_none_gets_anothers_answer(
    server: str, play: Play
) -> None:
    async def scenario() -> None:
        async with pool_of(server, connections_max=CONNECTIONS) as pool:
            bodies = [str(number).encode() * 7 for number in range(CALLS)]
            answers = await asyncio.gather(*(post(pool, "/echo", body) for body in bodies))
            assert [answer.body for answer in answers] == bodies
            assert pool.open_count <= CONNECTIONS

    play(scenario())


@pytest.mark.parametrize("kind", ["aiohttp", "stdlib"])
async def test_a_private_authority_is_trusted_by_whoever_has_its_certificate_and_nobody_else(
    kind: str, play: Play, tmp_path: Path
) -> None:
    authority, certificate = tmp_path / "ca.pem", tmp_path / "server.pem"
    write_authority(authority, certificate, tmp_path / "client.pem")
    trusting = ssl.create_default_context(cafile=str(authority))
    async with running_server(kind, tmp_path / "log", str(certificate)) as port:

        async def scenario() -> None:
            async with pool_of(f"https://localhost:{port}", tls=trusting) as pool:
                body = b"x" * 3_000_000
                for _ in range(2):
                    assert (await post(pool, "/echo", body)).body == body
                    assert (await post(pool, "/chunked", b"secret")).body == b"secret"
                assert pool.open_count == 1
            async with pool_of(f"https://localhost:{port}") as pool:
                with pytest.raises(NotSent, match=r"no connection \(.*certificate"):
                    await post(pool, "/echo")

        play(scenario())


def test_the_end_of_the_connection_ends_an_answer_without_a_length(play: Play, server: str) -> None:
    async def scenario() -> None:
        async with pool_of(server) as pool:
            assert (await post(pool, "/bye", b"x" * 50_000)).body == b"x" * 50_000

    play(scenario())
