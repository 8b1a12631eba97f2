"""Request bodies: bounded while they are read, then decoded into their exact type."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import msgspec
from kernel.errors import InvalidInput, TooLarge
from starlette.requests import Request

from gateway.entrypoints.rest.failures import CODE_BODY_TOO_SLOW, CODE_WRONG_CONTENT_TYPE
from gateway.entrypoints.rest.wire import Body

JSON_BODY_BYTES_MAX = 1024 * 1024
BODY_TIMEOUT_S = 30.0
CODE_MALFORMED_JSON = 2013


class WrongContentType(InvalidInput):
    """415 in HTTP."""

    code = CODE_WRONG_CONTENT_TYPE


class BodyTooSlow(InvalidInput):
    """408 in HTTP."""

    code = CODE_BODY_TOO_SLOW


async def decoded(request: Request, kind: type[Body]) -> Body:
    """The body as `kind`; an absent one counts as `{}`.

    Raises InvalidInput with the field's name, WrongContentType, BodyTooSlow, TooLarge.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            content = await _read(request)
    except TimeoutError as error:
        raise BodyTooSlow(
            f"the body did not arrive within {BODY_TIMEOUT_S:g} s: send it again"
        ) from error
    if not content.strip():
        content = b"{}"
    else:
        _check_content_type(request.headers.get("content-type"))
    try:
        body: Body = _decoder(kind).decode(content)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the body is wrong: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("the body is not valid JSON", code=CODE_MALFORMED_JSON) from error
    return body


@cache
def _decoder(kind: type[Body]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


async def _read(request: Request) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > JSON_BODY_BYTES_MAX:
            raise TooLarge(f"the body may have at most {JSON_BODY_BYTES_MAX} bytes")
    return bytes(content)


def _check_content_type(value: str | None) -> None:
    media_type = (value or "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise WrongContentType("the body must be JSON: send Content-Type: application/json")
