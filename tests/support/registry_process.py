"""The registry as a process of its own, for tests that kill it and for benchmarks."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc.aio
from devstack.ports import free_ports
from devstack.process import Process
from eventflows.registry.v1.registry_pb2_grpc import RegistryStub
from servicekit.identity import Role, ServiceToken
from servicekit.rpc import rpc_channel
from servicekit.settings import HostPort

from tests.support.registry import Database, environment

if TYPE_CHECKING:
    from eventflows.registry.v1.registry_pb2_grpc import RegistryAsyncStub

READY_TIMEOUT_S = 120.0


@dataclass(slots=True, kw_only=True)
class RegistryProcess:
    """`python -m registry` on one port over all its starts."""

    folder: Path
    address: HostPort
    variables: dict[str, str] = field(repr=False)
    process: Process | None = None

    async def start(self) -> None:
        """Return when it says that it serves."""
        self.process = Process.spawn(
            [sys.executable, "-m", "registry"],
            log_path=self.folder / f"registry-{uuid4().hex[:6]}.log",
            env=self.variables,
        )
        await self.process.wait_ready(self._told, timeout_s=READY_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()

    def channel(self, role: Role = "gateway") -> grpc.aio.Channel:
        """Calls with the role's token. Close it."""
        return rpc_channel(self.address, ServiceToken.load(self.folder / f"{role}.token"))

    @asynccontextmanager
    async def client(self, role: Role = "gateway") -> AsyncIterator[RegistryAsyncStub]:
        """A channel with the role's token for a while."""
        async with self.channel(role) as channel:
            yield RegistryStub(channel)

    async def _told(self) -> None:
        assert self.process is not None
        for line in self.process.log_path.read_text().splitlines():
            if '"serving"' in line and json.loads(line).get("address"):
                return
        raise ConnectionError("not serving yet")


@asynccontextmanager
async def registry_process(database: Database, folder: Path) -> AsyncIterator[RegistryProcess]:
    """One that runs; it is stopped at the end, whatever was done to it."""
    (port,) = free_ports(1)
    variables = environment(database, folder) | {"EVENTFLOWS_REGISTRY_LISTEN": f"127.0.0.1:{port}"}
    registry = RegistryProcess(
        folder=folder, address=HostPort("127.0.0.1", port), variables=variables
    )
    try:
        await registry.start()
        yield registry
    finally:
        if registry.process is not None:
            await registry.process.terminate()
