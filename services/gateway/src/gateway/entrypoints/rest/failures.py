"""Errors as Algorithmia's envelope: `{"error": {"id"?, "code", "message"}}` and `X-Error-Message`.

One exception, which clients look for: of an unknown algorithm the management paths say a string.
"""

from __future__ import annotations

import math

import msgspec
from kernel.errors import EventflowsError, Overloaded, TimedOut, Unauthenticated, Unavailable
from servicekit.failures import error_envelope, http_status
from servicekit.logs import redact
from starlette.responses import Response

from gateway.application.algorithms import CODE_ALGORITHM_NOT_FOUND

JSON = "application/json"
ERROR_HEADER = "X-Error-Message"
ERROR_HEADER_CHARACTERS_MAX = 1_000
UNAVAILABLE_RETRY_AFTER_S = 2
"""A service that restarts is back after a few seconds."""
CODE_NO_SUCH_PATH = 9404
CODE_NO_SUCH_METHOD = 9405
CODE_BODY_TOO_SLOW = 9408
CODE_WRONG_CONTENT_TYPE = 9415


def failure(error: EventflowsError, *, fault_id: str | None = None) -> Response:
    """The answer that tells of an error."""
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif isinstance(error, Unavailable) and not isinstance(error, TimedOut):
        headers["Retry-After"] = str(UNAVAILABLE_RETRY_AFTER_S)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Simple realm="eventflows"'
    return failure_of_status(http_status(error), error, fault_id=fault_id, headers=headers)


def failure_of_status(
    status: int,
    error: EventflowsError,
    *,
    fault_id: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """The same with a status that belongs to HTTP alone, such as 405."""
    message = redact(error.message)
    body: object = error_envelope(error, request_id=fault_id)
    if error.code == CODE_ALGORITHM_NOT_FOUND:
        body = {"error": message}
    in_header = " ".join(message.split()).encode("ascii", "replace").decode()
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type=JSON,
        headers={**(headers or {}), ERROR_HEADER: in_header[:ERROR_HEADER_CHARACTERS_MAX]},
    )
