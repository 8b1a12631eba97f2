"""What stands before every handler of a gRPC server: who calls, and what becomes of errors.

`IdentityInterceptor` refuses before anything else runs. Its deny handler is of the kind
stream-stream whatever the call's kind is: on the wire a kind does not show, and this one reads no
message before it answers. (A unary deny handler waits for a first message, so the silent client of
a bidirectional call never hears of its refusal: measured.) `FailureInterceptor` is the outermost
one: nothing but errors of the kernel's tree leaves the process, and what is unexpected leaves only
an id.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, Final, NoReturn, TypeAlias

import grpc
import grpc.aio
import structlog
from kernel.errors import EventflowsError

from servicekit import failures
from servicekit.identity import HEALTH_PREFIX, Identities, Role, may_call
from servicekit.logs import bind_trace, redact
from servicekit.trace import new_traceparent, parse_traceparent

AUTHORIZATION_METADATA: Final = "authorization"
TRACEPARENT_METADATA: Final = "traceparent"
FAULT_ID_BYTES: Final = 4

# In quotes: these classes take parameters in the stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"
Behaviour: TypeAlias = "Callable[[Any, Context], Awaitable[Any]]"

_log = logging.getLogger(__name__)
_caller: ContextVar[Role | None] = ContextVar("caller", default=None)


def current_caller() -> Role | None:
    """The role whose call this context serves; None outside of a call that was checked."""
    return _caller.get()


class IdentityInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """UNAUTHENTICATED without a known token, PERMISSION_DENIED where `identity.ALLOWED` says no.

    Health is for everybody. The role is in `current_caller()` of the handler.
    """

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    async def intercept_service(  # type: ignore[override]  # the stub forgets that it is awaited
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        method = handler_call_details.method
        if method.startswith(HEALTH_PREFIX):
            return await continuation(handler_call_details)
        values = _values(handler_call_details, AUTHORIZATION_METADATA)
        role = self._identities.role_of(values[0]) if len(values) == 1 else None
        if role is None:
            return deny_handler(
                grpc.StatusCode.UNAUTHENTICATED,
                "Send the service token as metadata `authorization: Bearer <token>`.",
            )
        if not may_call(role, method):
            return deny_handler(
                grpc.StatusCode.PERMISSION_DENIED,
                f"The role {role} may not call {method.removeprefix('/')}.",
            )
        _caller.set(role)
        return await continuation(handler_call_details)


class FailureInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Turns errors of `kernel.errors` into statuses, and anything else into INTERNAL with an id.

    So are errors that an inner interceptor raises, and those that end a stream after some messages.
    It also binds the call's trace and method to the log context.
    """

    async def intercept_service(  # type: ignore[override]  # the stub forgets that it is awaited
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        _bind_log_context(handler_call_details)
        try:
            handler = await continuation(handler_call_details)
        except Exception as error:  # noqa: BLE001  the one place where everything is told
            return _raising_handler(error)
        if handler is None:
            return None
        behaviour = _behaviour(handler)
        if handler.response_streaming:
            return _like(handler, _telling_stream(behaviour))
        return _like(handler, _telling_unary(behaviour))


def deny_handler(status: grpc.StatusCode, details: str) -> Handler:
    """A handler that ends a call of any of the four kinds with `status`, at once."""

    async def deny(_requests: object, context: Context) -> NoReturn:
        await context.abort(status, details)

    return grpc.stream_stream_rpc_method_handler(deny)


def _raising_handler(error: Exception) -> Handler:
    async def tell(_requests: object, context: Context) -> NoReturn:
        await _tell(error, context)

    return grpc.stream_stream_rpc_method_handler(tell)


def _telling_unary(behaviour: Callable[[Any, Context], Any]) -> Behaviour:
    async def call(request: object, context: Context) -> object:
        try:
            return await behaviour(request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001  the one place where everything is told
            return await _tell(error, context)

    return call


def _telling_stream(behaviour: Callable[[Any, Context], Any]) -> Behaviour:
    async def call(request: object, context: Context) -> None:
        try:
            answers = behaviour(request, context)
            if isinstance(answers, AsyncIterator):
                # Closed here and now when the client goes away, not when the collector comes by.
                async with aclosing(answers) as messages:  # type: ignore[type-var]
                    async for message in messages:
                        await context.write(message)
            else:
                await answers  # a coroutine that writes by itself
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001  the one place where everything is told
            await _tell(error, context)

    return call


async def _tell(error: Exception, context: Context) -> NoReturn:
    if isinstance(error, EventflowsError):
        message = redact(error.message)[: failures.MESSAGE_CHARACTERS_MAX]
        await context.abort(failures.grpc_status(error), message, failures.trailing_metadata(error))
    if isinstance(error, NotImplementedError):  # what generated base classes raise
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "This method is not served here.")
    fault_id = secrets.token_hex(FAULT_ID_BYTES)
    _log.error("rpc failed unexpectedly", exc_info=error, extra={"fault_id": fault_id})
    await context.abort(
        grpc.StatusCode.INTERNAL,
        f"Something went wrong inside; the log knows it as {fault_id}.",
        ((failures.CODE_METADATA, str(EventflowsError.code)),),
    )


def _bind_log_context(details: grpc.HandlerCallDetails) -> None:
    # gRPC calls the first interceptor in a fresh context that the handler shares.
    values = _values(details, TRACEPARENT_METADATA)
    trace = parse_traceparent(values[0]) if len(values) == 1 else None
    bind_trace(trace or new_traceparent(secrets.token_bytes))
    structlog.contextvars.bind_contextvars(rpc=details.method.removeprefix("/"))


def _values(details: grpc.HandlerCallDetails, name: str) -> list[str]:
    pairs: Iterable[Any] = details.invocation_metadata
    return [value for key, value in pairs if key == name and isinstance(value, str)]


def _behaviour(handler: Handler) -> Callable[[Any, Context], Any]:
    behaviour: Any = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    return behaviour  # type: ignore[no-any-return]  # exactly one of the four is set


def _like(handler: Handler, behaviour: Behaviour) -> Handler:
    kinds = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make: Any = kinds[handler.request_streaming, handler.response_streaming]
    return make(  # type: ignore[no-any-return]
        behaviour,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
