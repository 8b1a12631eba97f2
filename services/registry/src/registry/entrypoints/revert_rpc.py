"""`Revert`: one aggregate back to an earlier version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc.aio
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import TimedOut

from registry.application.revert import Reverts
from registry.domain import values
from registry.entrypoints.commands_rpc import COMMAND_TIMEOUT_S, command_context, command_result
from registry.entrypoints.kinds import kind_of
from registry.entrypoints.request_hash import request_hash

Context = grpc.aio.ServicerContext[Any, Any]


class RevertRpc:
    """A command as any other, idempotent by its command id."""

    def __init__(self, *, reverts: Reverts, keyed: Callable[[bytes], bytes]) -> None:
        """`keyed` is the keyed hash that stands for credentials in request hashes."""
        self._reverts = reverts
        self._keyed = keyed

    async def Revert(self, request: pb.RevertRequest, _context: Context) -> pb.CommandResult:  # noqa: N802
        about = command_context(request, request_hash(request, keyed=self._keyed))
        kind = kind_of("kind", request.kind)
        stream_id = values.uuid("stream_id", request.stream_id)
        version = values.between("to_version", request.to_version, low=1, high=values.INT32_MAX)
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                return command_result(await self._reverts.revert(kind, stream_id, version, about))
        except TimeoutError as error:
            raise TimedOut(
                "the outcome was not known in time: send the same command id again"
            ) from error
