"""The REST API as a Starlette application, made from the table of operations."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID, uuid4

import msgspec
from kernel.errors import EventflowsError, InvalidInput, NotFound, Unauthenticated
from servicekit.logs import bind_trace
from servicekit.trace import new_traceparent, parse_traceparent
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.application.gateway import Gateway
from gateway.application.moments import told_of
from gateway.domain.caller import Caller, admin, standard
from gateway.domain.moment import AsOf, Moment, exact_time
from gateway.domain.paging import moment_and_marker
from gateway.entrypoints.metrics import observe
from gateway.entrypoints.rest import accounts, algorithms, flows, letters, log, runs
from gateway.entrypoints.rest import admin as admin_operations
from gateway.entrypoints.rest.bodies import BodyTooSlow, WrongContentType, decoded
from gateway.entrypoints.rest.call import AS_OF_PARAMETER, Answer, Call
from gateway.entrypoints.rest.failures import (
    CODE_NO_SUCH_METHOD,
    CODE_NO_SUCH_PATH,
    JSON,
    failure,
    failure_of_status,
)
from gateway.entrypoints.rest.openapi import openapi
from gateway.entrypoints.rest.operation import KeyKind, Operation

AGE_HEADER = "X-Eventflows-Catalog-Age-Seconds"
REQUEST_ID_HEADER = "X-Eventflows-Request-Id"
AS_OF_POSITION_HEADER = "X-Eventflows-As-Of-Position"
AS_OF_TIME_HEADER = "X-Eventflows-As-Of-Time"
CLIENT_GONE = 499  # nginx's word for it; nobody is there to read it, but metrics count it
FAULT_ID_BYTES = 4

# Starlette tries one route after the other: what is called most comes first. Paths with names come
# last (`rest_app`), since an id in place of a name would fit them too.
OPERATIONS: tuple[Operation, ...] = (
    *runs.OPERATIONS,
    *accounts.OPERATIONS,
    *algorithms.OPERATIONS,
    *flows.OPERATIONS,
    *letters.OPERATIONS,
    *admin_operations.OPERATIONS,
    *log.OPERATIONS,
)

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


def rest_app(gateway: Gateway, *, random_uuid: Callable[[], UUID] = uuid4) -> Starlette:
    """The whole REST API of this gateway."""
    by_path: dict[str, list[Operation]] = {}
    for operation in sorted(OPERATIONS, key=lambda operation: "{owner}" in operation.path):
        by_path.setdefault(operation.path, []).append(operation)
    routes = [
        _route(path, operations, gateway, random_uuid) for path, operations in by_path.items()
    ]
    document = _encode(openapi(OPERATIONS, public_url=gateway.public_url))

    async def spec(_request: Request) -> Response:
        return Response(document, media_type=JSON)

    async def healthy(_request: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type=JSON)

    async def ready(_request: Request) -> Response:
        try:
            gateway.check_fresh()
        except EventflowsError as error:
            return failure(error)
        return Response(b'{"status":"ok"}', media_type=JSON)

    app = Starlette(
        routes=[
            Route("/healthz", healthy),
            Route("/readyz", ready),
            Route("/v1/openapispec", spec),
            *routes,
        ],
        exception_handlers={HTTPException: _http_failure},
    )
    app.router.redirect_slashes = False
    return app


def _route(
    path: str, operations: Sequence[Operation], gateway: Gateway, random_uuid: Callable[[], UUID]
) -> Route:
    by_method = {
        operation.method: _endpoint(operation, gateway, random_uuid) for operation in operations
    }

    async def dispatch(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await by_method[method](request)

    pattern = path.replace("{algorithm_id}", "{algorithm_id:uuid}")
    pattern = pattern.replace("{target}", "{target:path}")
    pattern = pattern.replace("{position}", "{position:int}")
    return Route(pattern, dispatch, methods=list(by_method))


def _endpoint(
    operation: Operation, gateway: Gateway, random_uuid: Callable[[], UUID]
) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        trace = parse_traceparent(request.headers.get("traceparent"))
        bind_trace(trace or new_traceparent(secrets.token_bytes))
        started_s = time.perf_counter()
        request_id = f"req-{random_uuid()}"
        response = await _told(
            lambda: _answer(operation, gateway, request, request_id, random_uuid)
        )
        response.headers.setdefault(REQUEST_ID_HEADER, request_id)
        observe("rest", operation.name, str(response.status_code), time.perf_counter() - started_s)
        age_s = gateway.notable_age_s()
        if age_s is not None:
            response.headers[AGE_HEADER] = f"{age_s:.1f}"
        return response

    return serve


async def _answer(
    operation: Operation,
    gateway: Gateway,
    request: Request,
    request_id: str,
    random_uuid: Callable[[], UUID],
) -> Response:
    gateway.check_fresh()
    caller = _caller(operation, gateway, request)
    as_of, marker = _moment(operation, request)
    if as_of is not None:
        gateway = await gateway.at(as_of)
    call = Call(
        gateway=gateway,
        caller=caller,
        request=request,
        request_id=request_id,
        random_uuid=random_uuid,
        marker=marker,
    )
    body = await decoded(request, operation.body) if operation.body is not None else None
    with told_of(gateway.moment):
        answer = await operation.handler(call, body)
    if not isinstance(answer, Answer):
        return answer
    content = b"" if answer.body is None else _encode(answer.body)
    media_type = None if answer.body is None else JSON
    headers = {**answer.headers, **_moment_headers(gateway.moment)}
    return Response(content, answer.status, headers, media_type)


def _moment(operation: Operation, request: Request) -> tuple[AsOf | None, str]:
    """The moment that is asked for, and the marker without it. Raises InvalidInput."""
    query = request.query_params
    asked, marker = query.get(AS_OF_PARAMETER), query.get("marker", "")
    if operation.as_of:
        return moment_and_marker(asked, marker)
    # What runs take is their own: the query of a run passes unparsed.
    if asked is not None and operation.handler is not runs.run:
        raise InvalidInput(
            "as_of is for reads of the configuration, and this is a change, a live answer or the "
            "log itself: leave it out"
        )
    return None, marker


def _moment_headers(moment: Moment | None) -> dict[str, str]:
    if moment is None:
        return {}
    return {
        AS_OF_POSITION_HEADER: str(moment.position),
        AS_OF_TIME_HEADER: exact_time(moment.time),
    }


def _caller(operation: Operation, gateway: Gateway, request: Request) -> Caller:
    """Who calls, of the right kind, before anything of the body is read."""
    authorization = request.headers.get("authorization")
    if operation.handler is runs.run and not authorization:
        raise Unauthenticated("authorization required")  # Algorithmia's exact words
    caller = gateway.authenticate(authorization)
    if operation.key is KeyKind.ADMIN:
        return admin(caller)
    return standard(caller)


async def _told(work: Callable[[], Awaitable[Response]]) -> Response:
    """The answer, or what went wrong. Of the unexpected only an id is told; the log has it."""
    try:
        return await work()
    except BodyTooSlow as error:
        return failure_of_status(408, error)
    except WrongContentType as error:
        return failure_of_status(415, error)
    except EventflowsError as error:
        if type(error) is EventflowsError:
            _log.error("a request failed: %s", error.message)
        return failure(error)
    except ClientDisconnect:
        return Response(status_code=CLIENT_GONE)
    except Exception:  # noqa: BLE001  the one place where everything is told
        fault_id = secrets.token_hex(FAULT_ID_BYTES)
        _log.exception("a request failed unexpectedly", extra={"fault_id": fault_id})
        return failure(
            EventflowsError(f"something went wrong inside; the log knows it as {fault_id}"),
            fault_id=fault_id,
        )


async def _http_failure(request: Request, error: Exception) -> Response:
    """Starlette's own refusals, as the envelope: no such path, no such method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        told = EventflowsError(
            f"{request.method} is not possible here: use {allowed}", code=CODE_NO_SUCH_METHOD
        )
        return failure_of_status(405, told, headers={"Allow": allowed})
    return failure_of_status(
        404,
        NotFound(
            "there is no such path: GET /v1/openapispec lists all of them", code=CODE_NO_SUCH_PATH
        ),
    )
