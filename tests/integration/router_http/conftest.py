"""A loop for each test, on both kinds of loop, and three servers by others as processes."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from devstack import Process, free_ports

from tests.support.http_servers import KINDS

Scenario = Coroutine[Any, Any, None]
TIMEOUT_S = 30


@pytest.fixture(params=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Runs a scenario in a loop of its own; afterwards no task and no error may be left."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    async def watched(scenario: Scenario) -> None:
        loop, complaints = asyncio.get_running_loop(), list[dict[str, Any]]()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(TIMEOUT_S):
            await scenario
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left
        gc.collect(1)  # futures whose error nobody saw complain now
        await asyncio.sleep(0)
        assert not complaints

    def run(scenario: Scenario) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(watched(scenario))

    def run_apart(scenario: Scenario) -> None:
        with ThreadPoolExecutor(1) as thread:  # this thread has pytest's own loop
            thread.submit(run, scenario).result()

    return run_apart


@asynccontextmanager
async def running_server(kind: str, log_path: Path, *more: str) -> AsyncIterator[int]:
    """The port of a server process that listens."""
    (port,) = free_ports(1)
    argv = [sys.executable, "-m", "tests.support.http_servers", kind, str(port), *more]
    process = Process.spawn(argv, log_path=log_path, name=kind)

    async def listens() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()

    try:
        await process.wait_ready(listens)
        yield port
    finally:
        process.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=KINDS)
async def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """The origin of each of the three servers in turn."""
    log_path = tmp_path_factory.mktemp("http") / "server.log"
    async with running_server(request.param, log_path) as port:
        yield f"http://127.0.0.1:{port}"
