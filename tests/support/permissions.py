"""Calls every method of a service as every role and as nobody, and sees who is let in.

Works on descriptors alone, so the same function checks fakes and the real services.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from servicekit.failures import CODE_METADATA
from servicekit.identity import ALLOWED, Role

REFUSAL_TIMEOUT_S = 10.0
"""Within this a refusal must have come, also for a stream on which the client says nothing."""
LET_IN_TIMEOUT_S = 1.0
"""Refusals come at once: a call that still runs after this was let in."""
UNKNOWN_TOKEN = "nobody-knows-this-token-0123456789abcdef"

_IDENTITY_STATUSES = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


async def assert_only_allowed_roles(
    address: object, service_descriptor: ServiceDescriptor, tokens_by_role: Mapping[Role, str]
) -> None:
    """Asserts for each method of the service, called with an empty request on a plain channel:

    without and with an unknown token UNAUTHENTICATED; as a role that `ALLOWED` does not name
    PERMISSION_DENIED; as one that it names anything but a refusal by the identity check.
    """
    async with grpc.aio.insecure_channel(str(address)) as channel:
        for method in service_descriptor.methods:
            allowed = ALLOWED[_path(method)]
            assert allowed <= tokens_by_role.keys(), f"no token for a role of {_path(method)}"
            for token in (None, "", UNKNOWN_TOKEN):
                status = await _refusal(channel, method, token, REFUSAL_TIMEOUT_S)
                assert status is grpc.StatusCode.UNAUTHENTICATED, (_path(method), token, status)
            for role, token in tokens_by_role.items():
                limit_s = LET_IN_TIMEOUT_S if role in allowed else REFUSAL_TIMEOUT_S
                status = await _refusal(channel, method, token, limit_s)
                expected = None if role in allowed else grpc.StatusCode.PERMISSION_DENIED
                assert status is expected, (_path(method), role, status)


async def _refusal(
    channel: grpc.aio.Channel, method: MethodDescriptor, token: str | None, limit_s: float
) -> grpc.StatusCode | None:
    """The status with which the identity check refused the call; None when it let it in."""
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    try:
        async with asyncio.timeout(limit_s):
            await _first_answer(channel, method, metadata)
    except TimeoutError:
        return None
    except grpc.aio.AioRpcError as error:
        trailing: Any = error.trailing_metadata()
        ours = any(key == CODE_METADATA for key, _ in trailing)
        if error.code() in _IDENTITY_STATUSES and not ours:
            return error.code()
    return None


async def _first_answer(
    channel: grpc.aio.Channel, method: MethodDescriptor, metadata: tuple[tuple[str, str], ...]
) -> None:
    request = GetMessageClass(method.input_type)()
    make: Any = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[method.client_streaming, method.server_streaming]
    start = make(
        _path(method),
        request_serializer=GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    over = asyncio.Event()
    call = start(_silence(over) if method.client_streaming else request, metadata=metadata)
    try:
        if method.server_streaming:
            await call.read()
        else:
            await call
    finally:
        call.cancel()
        over.set()


async def _silence(over: asyncio.Event) -> AsyncGenerator[Any, None]:
    """A client that opens a stream and says nothing. The channel reads it, and so closes it."""
    await over.wait()
    return
    yield


def _path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"
