"""A registry that tells a log from a test's script: a real gRPC server with the real checks.

Watch, GetHead, ReadCredential and PauseFlow behave as registry.v1 promises; there is no other
command, no database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from catalog.codec import recorded_to_message
from catalog.errors import SECRET_GONE
from eventflows.registry.v1 import registry_pb2
from eventflows.registry.v1.registry_pb2_grpc import (
    RegistryServicer,
    add_RegistryServicer_to_server,
)
from kernel.errors import NotFound, VersionConflict
from servicekit.identity import Identities
from servicekit.rpc import RpcService, rpc_server
from servicekit.settings import HostPort

from tests.support.event_log import EventLog

HEARTBEAT_S = 0.5
BATCH_EVENTS_MAX = 100


class ScriptedRegistry(RegistryServicer):
    """Tells what `log` holds; call `tell` after adding to it."""

    def __init__(self) -> None:
        self.log = EventLog()
        self.secrets: dict[str, tuple[str, str]] = {}
        self.secret_reads = 0
        self.address = ""
        self._told = asyncio.Event()

    def tell(self) -> int:
        """Let every Watch see what was added to the log; the position."""
        self._told.set()
        self._told = asyncio.Event()
        return len(self.log.recorded)

    async def GetHead(self, request: Any, context: Any) -> registry_pb2.Head:  # noqa: N802
        return registry_pb2.Head(position=len(self.log.recorded))

    async def Watch(  # noqa: N802
        self, request: registry_pb2.WatchRequest, context: Any
    ) -> AsyncIterator[registry_pb2.WatchBatch]:
        position = request.after_position
        while True:
            told, head = self._told, len(self.log.recorded)
            to = min(head, position + BATCH_EVENTS_MAX)
            events = [recorded_to_message(one) for one in self.log.recorded[position:to]]
            yield registry_pb2.WatchBatch(
                from_position=position, to_position=to, head_position=head, events=events
            )
            position = to
            if position == head:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await told.wait()
                except TimeoutError:
                    continue

    async def ReadCredential(  # noqa: N802
        self, request: registry_pb2.ReadCredentialRequest, context: Any
    ) -> registry_pb2.Credential:
        self.secret_reads += 1
        found = self.secrets.get(request.secret_id)
        if found is None:
            raise NotFound(f"There is no secret {request.secret_id}.", code=SECRET_GONE)
        return registry_pb2.Credential(username=found[0], password=found[1])

    async def PauseFlow(  # noqa: N802
        self, request: registry_pb2.PauseFlowRequest, context: Any
    ) -> registry_pb2.CommandResult:
        version = self.log.version(request.flow_id)
        if request.context.expected_version != version:
            raise VersionConflict(f"It is at version {version}.")
        self.log.pause(request.flow_id, drain=request.drain, reason=request.reason)
        return registry_pb2.CommandResult(position=self.tell(), changed=True)


@asynccontextmanager
async def scripted_registry(identities: Identities) -> AsyncIterator[ScriptedRegistry]:
    """Serves on a free port, until the context is left."""
    registry = ScriptedRegistry()  # type: ignore[abstract]  # others answer UNIMPLEMENTED
    service = RpcService(
        registry_pb2.DESCRIPTOR.services_by_name["Registry"],
        add_RegistryServicer_to_server,
        registry,
    )
    server = rpc_server(
        listen=HostPort("127.0.0.1", 0),
        identities=identities,
        services=[service],
        stop_grace_s=0.1,
    )
    async with server:
        registry.address = str(server.address)
        yield registry
