"""One cluster for the tests of the gateway, and a model server that algorithms may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from aiohttp import web

from tests.integration.gateway.cluster import Cluster, Owner, running_cluster

WAIT_S = 120.0


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def cluster() -> AsyncIterator[Cluster]:
    """Registry, runner, router and both gateway processes on real PostgreSQL and Kafka."""
    end = asyncio.Event()
    opened: asyncio.Future[Cluster] = asyncio.get_running_loop().create_future()

    async def keep() -> None:
        # A task of its own: fixtures begin and end in different tasks.
        async with running_cluster() as running:
            opened.set_result(running)
            await end.wait()

    keeping = asyncio.create_task(keep())
    either: set[asyncio.Future[Any]] = {keeping, opened}
    await asyncio.wait(either, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    if keeping.done():
        await keeping
    yield opened.result()
    end.set()
    await keeping


@pytest_asyncio.fixture(loop_scope="session")
async def owner(cluster: Cluster) -> Owner:
    """A user with a standard key, of this test alone."""
    return await cluster.owner()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def model_url() -> AsyncIterator[str]:
    """An HTTP service that answers runs with what it got."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"echo": await request.json()})

    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (address,) = runner.addresses
    yield f"http://127.0.0.1:{address[1]}"
    await runner.cleanup()
