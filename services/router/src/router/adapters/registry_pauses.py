"""Asks the registry to pause a flow that one of its rules halted."""

from __future__ import annotations

from typing import Final
from uuid import uuid4

import grpc.aio
from eventflows.registry.v1.registry_pb2 import CommandContext, PauseFlowRequest
from eventflows.registry.v1.registry_pb2_grpc import RegistryStub
from servicekit.rpc import raise_from_status

from router.adapters.registry_tasks import ACTOR

CALL_TIMEOUT_S: Final = 5.0


class RegistryPauses:
    """`FlowPauses` by `registry.v1.PauseFlow`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._registry = RegistryStub(channel)

    async def pause(self, flow_id: str, *, reason: str, stream_version: int) -> int:
        """A call that is made again has another id: the version alone keeps it from being stored
        twice."""
        request = PauseFlowRequest(
            context=CommandContext(
                command_id=str(uuid4()), actor=ACTOR, expected_version=stream_version
            ),
            flow_id=flow_id,
            reason=reason,
        )
        try:
            result = await self._registry.PauseFlow(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise_from_status(error)
        return int(result.position)
