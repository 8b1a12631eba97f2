"""Request bodies: bounded while they are read, then decoded into their exact type."""

from __future__ import annotations

import asyncio
import re
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


SCHEMA_HINT = "GET /v1/openapispec lists the fields and their values"
_UNKNOWN_FIELD = re.compile(r"unknown field `(.*)`")
_MISSING_FIELD = re.compile(r"missing required field `([^`]*)`")
_WRONG_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_WRONG_SIZE = re.compile(r"Expected `([^`]*)` (.*)")
_WRONG_WORD = re.compile(r"Invalid enum value (.*)")
_TYPE_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "object": "an object",
    "array": "a list",
}


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
        raise InvalidInput(_what_to_mend(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            "the body is not valid JSON: mend it, then send it again", code=CODE_MALFORMED_JSON
        ) from error
    return body


def _what_to_mend(refusal: str) -> str:
    """msgspec's finding as a sentence that says what to do."""
    finding, _, place = refusal.partition(" - at `$")
    place = place.removesuffix("`").removeprefix(".")
    field, inside = place or "the body", f" in {place}" if place else ""
    if unknown := _UNKNOWN_FIELD.search(finding):
        do = f"the body has an unknown field {unknown[1]}{inside}: remove it"
    elif missing := _MISSING_FIELD.search(finding):
        do = f"the body lacks the field {missing[1]}{inside}: add it"
    elif wrong := _WRONG_TYPE.search(finding):
        do = f"{field} must be {_in_words(wrong[1])}, not {_in_words(wrong[2])}: change it"
    elif size := _WRONG_SIZE.search(finding):
        do = f"{field} must be {_in_words(size[1])} {size[2]}: change it"
    elif word := _WRONG_WORD.search(finding):
        do = f"{field} cannot be {word[1]}: choose one of its values"
    else:
        do = f"{field} is wrong ({finding}): change it"
    return f"{do}; {SCHEMA_HINT}"


def _in_words(types: str) -> str:
    return " or ".join(_TYPE_WORDS.get(name, name) for name in types.split(" | "))


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
