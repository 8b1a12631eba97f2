"""Who calls over gRPC: an API key in the metadata `authorization`, checked before every call.

The interceptor raises; servicekit's outer one tells, at once and for every kind of call.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
from kernel.errors import EventflowsError, InvalidInput, Unauthenticated
from servicekit.failures import grpc_status
from servicekit.identity import HEALTH_PREFIX, REFLECTION_PREFIX
from servicekit.server_interceptors import Context, Continuation, Handler

from gateway.application.gateway import Gateway
from gateway.domain.caller import Caller, admin
from gateway.entrypoints.metrics import observe

AGE_METADATA = "x-eventflows-catalog-age-seconds"
REQUEST_ID_METADATA = "x-eventflows-request-id"

_caller: ContextVar[Caller] = ContextVar("caller")
_request_id: ContextVar[str] = ContextVar("request_id")


def current_caller() -> Caller:
    """The caller of the call that is being served. Raises LookupError outside of one."""
    return _caller.get()


def current_request_id() -> str:
    """The name of the call that is being served. Raises LookupError outside of one."""
    return _request_id.get()


class ApiKeyInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """UNAUTHENTICATED without a known key; health is for everybody, reflection for admins."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def intercept_service(  # type: ignore[override]  # the stub forgets that it is awaited
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        method = handler_call_details.method
        if method.startswith(HEALTH_PREFIX):
            return await continuation(handler_call_details)
        self._gateway.check_fresh()
        caller = self._gateway.authenticate(_authorization(handler_call_details))
        if method.startswith(REFLECTION_PREFIX):
            admin(caller)
        # gRPC calls interceptors and handler in one context, a fresh one for each call.
        _caller.set(caller)
        _request_id.set(f"req-{uuid4()}")
        handler = await continuation(handler_call_details)
        return None if handler is None else self._counted(handler, method.rpartition("/")[2])

    def _counted(self, handler: Handler, operation: str) -> Handler:
        behaviour: Any = handler.unary_unary
        if behaviour is None:  # reflection
            return handler

        async def call(request: object, context: Context) -> object:
            started_s, status = time.perf_counter(), grpc.StatusCode.OK
            try:
                return await behaviour(request, context)
            except EventflowsError as error:
                status = grpc_status(error)
                raise
            except BaseException:
                status = grpc.StatusCode.UNKNOWN
                raise
            finally:
                observe("rpc", operation, status.name, time.perf_counter() - started_s)
                self._tell(context)

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _tell(self, context: Context) -> None:
        told = [(REQUEST_ID_METADATA, current_request_id())]
        age_s = self._gateway.notable_age_s()
        if age_s is not None:
            told.append((AGE_METADATA, f"{age_s:.1f}"))
        context.set_trailing_metadata(tuple(told))


def _authorization(details: grpc.HandlerCallDetails) -> str | None:
    pairs: Any = details.invocation_metadata
    values = [value for key, value in pairs if key == "authorization"]
    if len(values) > 1:
        raise Unauthenticated("send one `authorization`, not several")
    if values and not isinstance(values[0], str):
        raise InvalidInput("`authorization` must be text")
    return values[0] if values else None
