"""Real processes: signals, exit codes, and what is on stderr."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from servicekit.identity import create_identities
from servicekit.lifecycle import EXIT_FAILED

EXIT_TIMEOUT_S = 30.0

PREAMBLE = """
import asyncio, logging, sys, threading
from servicekit.lifecycle import run_service
from servicekit.logs import hide
from servicekit.settings import SettingsError
"""
RUN = "\nsys.exit(run_service(main, service='example'))\n"
POLITE = """
async def main(stop):
    print("ready", flush=True)
    await stop.wait()
    print(type(asyncio.get_running_loop()).__module__, flush=True)
"""
STUBBORN = """
async def main(stop):
    print("ready", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    await asyncio.Event().wait()
"""


@asynccontextmanager
async def process(code: str) -> AsyncIterator[Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", PREAMBLE + code + RUN, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(EXIT_TIMEOUT_S):
            yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.communicate()


async def ended(code: str) -> tuple[int | None, str]:
    async with process(code) as child:
        _, stderr = await child.communicate()
        return child.returncode, stderr.decode()


async def line(child: Process) -> str:
    assert child.stdout is not None
    return (await child.stdout.readline()).decode().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_cleanly(number: signal.Signals) -> None:
    async with process(POLITE) as child:
        assert await line(child) == "ready"
        child.send_signal(number)
        assert (await line(child)).startswith("uvloop")
        _, stderr = await child.communicate()
    assert child.returncode == 0
    assert [json.loads(text)["event"] for text in stderr.splitlines()] == ["stopping"]


async def test_a_second_signal_ends_the_process_at_once() -> None:
    async with process(STUBBORN) as child:
        assert await line(child) == "ready"
        child.send_signal(signal.SIGTERM)
        assert await line(child) == "stopping"
        child.send_signal(signal.SIGTERM)
        await child.communicate()
    assert child.returncode == 128 + signal.SIGTERM


async def test_wrong_settings_end_with_78_and_a_line_per_problem() -> None:
    code, stderr = await ended("async def main(stop): raise SettingsError(['One.', 'Two.'])")
    assert (code, stderr) == (78, "example: One.\nexample: Two.\n")


async def test_wrong_settings_are_found_inside_a_task_group_too() -> None:
    code, stderr = await ended("""
async def wrong(): raise SettingsError(["One."])
async def main(stop):
    async with asyncio.TaskGroup() as group:
        group.create_task(wrong())
""")
    assert (code, stderr) == (78, "example: One.\n")


async def test_an_unexpected_error_ends_with_70_and_is_logged_without_secrets() -> None:
    code, stderr = await ended("""
async def main(stop):
    hide("hunter2-hunter2")
    raise RuntimeError("hunter2" + "-hunter2")
""")
    (logged,) = [json.loads(text) for text in stderr.splitlines()]
    assert code == 70
    assert "RuntimeError: [hidden]" in logged["exception"]
    assert logged["service"] == "example"


async def test_ending_without_being_asked_is_a_failure() -> None:
    code, stderr = await ended("async def main(stop): pass")
    assert code == 70
    assert "without being asked" in stderr


async def test_what_a_thread_raises_is_logged_and_redacted() -> None:
    code, stderr = await ended("""
def work():
    hide("hunter2-hunter2")
    raise RuntimeError("hunter2" + "-hunter2")
async def main(stop):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    stop.set()
""")
    (logged,) = [json.loads(text) for text in stderr.splitlines()]
    assert code == 0
    assert "RuntimeError: [hidden]" in logged["exception"]


async def test_a_whole_service_serves_on_uvloop_and_leaves_nothing_open(tmp_path: Path) -> None:
    files = create_identities(tmp_path, ["operator"])
    async with process(f"""
from contextlib import AsyncExitStack
from pathlib import Path
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from servicekit.identity import Identities, ServiceToken
from servicekit.metrics import serve_metrics
from servicekit.rpc import rpc_channel, rpc_server
from servicekit.settings import HostPort

LOOPBACK = HostPort("127.0.0.1", 0)

async def main(stop):
    identities = Identities.load(Path({str(files.identities)!r}))
    token = ServiceToken.load(Path({str(files.tokens["operator"])!r}))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serve_metrics(LOOPBACK))
        server = rpc_server(listen=LOOPBACK, identities=identities, services=[])
        await stack.enter_async_context(server)
        channel = await stack.enter_async_context(rpc_channel(server.address, token))
        answer = await HealthStub(channel).Check(HealthCheckRequest())
        print("health", answer.status, flush=True)
        await stop.wait()
""") as child:
        assert await line(child) == "health 1"
        child.send_signal(signal.SIGTERM)
        _, stderr = await child.communicate()
    assert child.returncode == 0
    assert [json.loads(text)["event"] for text in stderr.decode().splitlines()] == ["stopping"]


async def test_a_task_that_does_not_let_itself_be_cancelled_keeps_no_process() -> None:
    code, stderr = await ended(
        """
async def undead():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def main(stop):
    main.task = asyncio.create_task(undead())
    await asyncio.sleep(0)
    raise RuntimeError("a part crashed")
"""
    )
    assert code == EXIT_FAILED
    assert "a part crashed" in stderr
    assert "tasks do not end although they were cancelled" in stderr
