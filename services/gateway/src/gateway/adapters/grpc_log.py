"""The registry's log by gRPC, for people who read it."""

from __future__ import annotations

import grpc.aio
from eventflows.registry.v1 import registry_pb2, registry_pb2_grpc
from kernel.errors import InvalidInput, NotFound, StateForbids

from gateway.adapters.calls import kernel_errors

READ_TIMEOUT_S = 10.0
DIFF_TIMEOUT_S = 65.0
"""A diff reads two moments and every event between them; the registry gives up after 60 s."""
UNREACHABLE = "the log cannot be read while the registry cannot be reached: try again later"


class GrpcLog:
    """Port `Log`. One channel for all questions."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = registry_pb2_grpc.RegistryStub(channel)

    async def head(self) -> registry_pb2.Head:
        with kernel_errors(unreachable=UNREACHABLE):
            return await self._stub.GetHead(registry_pb2.GetHeadRequest(), timeout=READ_TIMEOUT_S)

    async def read(self, request: registry_pb2.ReadLogRequest) -> registry_pb2.ReadLogResponse:
        with kernel_errors(unreachable=UNREACHABLE):
            return await self._stub.ReadLog(request, timeout=READ_TIMEOUT_S)

    async def diff(self, request: registry_pb2.DiffRequest) -> registry_pb2.DiffResponse:
        """A moment that the registry does not have is InvalidInput, whatever its reason."""
        try:
            with kernel_errors(unreachable=UNREACHABLE):
                return await self._stub.Diff(request, timeout=DIFF_TIMEOUT_S)
        except (NotFound, StateForbids) as error:
            raise InvalidInput(error.message) from error
