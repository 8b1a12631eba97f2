"""What every call of a channel carries: the service token, the trace, and a deadline.

One class per call kind: grpc.aio files an interceptor under the first kind that it is an instance
of, so a class that implements two kinds is silently left out of the second.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final

import grpc.aio

from servicekit.identity import ServiceToken
from servicekit.logs import current_trace
from servicekit.server_interceptors import AUTHORIZATION_METADATA, TRACEPARENT_METADATA
from servicekit.trace import child_of

UNARY_TIMEOUT_DEFAULT_S: Final = 10.0

Details = grpc.aio.ClientCallDetails
Continuation = Callable[[Details, Any], Any]


class _Carrying:
    """Adds the metadata, and `timeout_s` where the caller set no deadline of its own."""

    def __init__(self, token: ServiceToken | None, timeout_s: float | None) -> None:
        self._token = token
        self._timeout_s = timeout_s

    def _carry(self, details: Details) -> Details:
        metadata = grpc.aio.Metadata(
            *(details.metadata or ())
        )  # a copy: the caller's stays as it is
        if self._token is not None:
            metadata[AUTHORIZATION_METADATA] = self._token.authorization
        trace = current_trace()
        if trace is not None and TRACEPARENT_METADATA not in metadata:
            metadata[TRACEPARENT_METADATA] = str(child_of(trace, secrets.token_bytes))
        return grpc.aio.ClientCallDetails(
            method=details.method,
            timeout=self._timeout_s if details.timeout is None else details.timeout,
            metadata=metadata,
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
        )


class _UnaryUnary(_Carrying, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_unary(
        self, continuation: Continuation, client_call_details: Details, request: Any
    ) -> Any:
        return await continuation(self._carry(client_call_details), request)


class _UnaryStream(_Carrying, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_stream(
        self, continuation: Continuation, client_call_details: Details, request: Any
    ) -> Any:
        return await continuation(self._carry(client_call_details), request)


class _StreamUnary(_Carrying, grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[type-arg]
    async def intercept_stream_unary(
        self, continuation: Continuation, client_call_details: Details, request_iterator: Any
    ) -> Any:
        return await continuation(self._carry(client_call_details), request_iterator)


class _StreamStream(_Carrying, grpc.aio.StreamStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_stream_stream(
        self, continuation: Continuation, client_call_details: Details, request_iterator: Any
    ) -> Any:
        return await continuation(self._carry(client_call_details), request_iterator)


def client_interceptors(
    token: ServiceToken | None, *, unary_timeout_s: float = UNARY_TIMEOUT_DEFAULT_S
) -> list[Any]:
    """For `grpc.aio.insecure_channel(interceptors=…)`. Streams get no deadline: they live long."""
    return [
        _UnaryUnary(token, unary_timeout_s),
        _UnaryStream(token, None),
        _StreamUnary(token, unary_timeout_s),
        _StreamStream(token, None),
    ]
