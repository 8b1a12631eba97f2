"""The registry by gRPC."""

from __future__ import annotations

import grpc.aio
from eventflows.registry.v1 import registry_pb2, registry_pb2_grpc
from servicekit.logs import current_trace

from gateway.adapters.calls import kernel_errors
from gateway.ports import Command

COMMAND_TIMEOUT_S = 10.0
UNREACHABLE = (
    "changes are not possible while the registry cannot be reached, reads go on: try again later"
)


class GrpcRegistry:
    """Port `Registry`. One channel for all commands."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = registry_pb2_grpc.RegistryStub(channel)

    async def send(self, command: Command) -> registry_pb2.CommandResult:
        """The RPC of a command has its name without `Request`; `proto/` keeps it so."""
        trace = current_trace()
        if trace is not None:
            command.context.traceparent = str(trace)
        call = getattr(self._stub, type(command).__name__.removesuffix("Request"))
        with kernel_errors(unreachable=UNREACHABLE):
            result: registry_pb2.CommandResult = await call(command, timeout=COMMAND_TIMEOUT_S)
        return result
