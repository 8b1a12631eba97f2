"""One of our services as a process: its environment, its readiness, its death.

Settings go by environment, secrets by files that only we may read: nothing secret ever stands in an
environment or an argument.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from devstack.errors import NotRunning
from devstack.process import Process

PROBE_TIMEOUT_S = 2.0
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0


class Service:
    """`python -m <module> [words]` with `EVENTFLOWS_<MODULE>_*` settings.

    Can be started, killed and started again on the same addresses. `program` is a module that runs
    in place of `module`, with the settings of that one.
    """

    def __init__(
        self,
        module: str,
        *words: str,
        name: str,
        settings: Mapping[str, str],
        log_path: Path,
        probe: Callable[[], Awaitable[None]] | None = None,
        cpus: set[int] | None = None,
        program: str | None = None,
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._argv = [sys.executable, "-m", program or module, *words]
        self.environment = {
            f"EVENTFLOWS_{module.upper()}_{k.upper()}": v for k, v in settings.items()
        }
        self._probe = probe
        self._cpus = cpus
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The process that runs, or ran last. Raises NotRunning before the first start."""
        if self._process is None:
            raise NotRunning(f"{self.name} is not started")
        return self._process

    def spawn(self) -> None:
        """Start it and return at once."""
        self._process = Process.spawn(
            self._argv,
            name=self.name,
            log_path=self.log_path,
            env=self.environment,
            cpus=self._cpus,
        )

    async def ready(self, *, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return when it answers as ready. Raises StartFailed with the tail of its log."""
        assert self._probe is not None, f"{self.name} runs to its end: use finish()"
        await self.process.wait_ready(self._probe, timeout_s=timeout_s)

    async def start(self, *, timeout_s: float = READY_TIMEOUT_S) -> None:
        """`spawn` and `ready` in one."""
        self.spawn()
        await self.ready(timeout_s=timeout_s)

    async def finish(self, *, timeout_s: float = READY_TIMEOUT_S) -> int:
        """Wait for its end and give the exit code: for commands that end by themselves."""
        return await self.process.wait(timeout_s=timeout_s)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL after the limit. Harmless when it does not run."""
        if self._process is not None:
            await self._process.terminate(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL it with all its children."""
        self.process.kill()


def serves_grpc(address: str) -> Callable[[], Awaitable[None]]:
    """Probe: the gRPC health service says SERVING."""

    async def probe() -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_TIMEOUT_S)
            if answer.status != health_pb2.HealthCheckResponse.SERVING:
                raise ConnectionError(f"{address} is not serving yet")

    return probe


def answers_http(url: str) -> Callable[[], Awaitable[None]]:
    """Probe: GET gives 200."""

    async def probe() -> None:
        timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            if answer.status != 200:
                raise ConnectionError(f"{url}: {answer.status} {(await answer.text())[:200]}")

    return probe
