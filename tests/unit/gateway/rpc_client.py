"""A caller of the gateway's gRPC, and how its failures compare with those of REST."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Self

import grpc.aio
import pytest
from eventflows.gateway.v1 import gateway_pb2_grpc
from kernel.errors import EventflowsError
from servicekit.failures import error_from_status, http_status

from tests.unit.gateway.asgi_client import Answer


@dataclass(frozen=True, kw_only=True)
class Rpc:
    """The services on one channel."""

    users: Any
    listeners: Any
    flows: Any
    letters: Any
    channel: grpc.aio.Channel

    def method(self, name: str) -> Any:
        """The method of this name, whichever service has it."""
        stubs = (self.users, self.listeners, self.flows, self.letters)
        return next(getattr(stub, name) for stub in stubs if hasattr(stub, name))

    @classmethod
    def on(cls, channel: grpc.aio.Channel) -> Self:
        """Its stubs."""
        return cls(
            users=gateway_pb2_grpc.UsersStub(channel),
            listeners=gateway_pb2_grpc.EventListenersStub(channel),
            flows=gateway_pb2_grpc.EventFlowsStub(channel),
            letters=gateway_pb2_grpc.DeadLettersStub(channel),
            channel=channel,
        )


def key(value: str) -> dict[str, Any]:
    return {"metadata": (("authorization", f"Simple {value}"),)}


async def refusal(call: Awaitable[Any]) -> EventflowsError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return error_from_status(refused.value)


def same_failure(rest: Answer, rpc: EventflowsError) -> None:
    assert rest.status == http_status(rpc), (rest.content, rpc)
    assert rest.error == {"code": rpc.code, "message": rpc.message} or rest.error == rpc.message
