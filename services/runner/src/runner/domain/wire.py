"""Algorithmia's HTTP wire for runs (`algorithmia-api.md` 2.2, 3.1) and our headers beside it. Pure.

Requests are read into a `RunRequest`, answers written as status, headers and body. JSON results go
out as the text they came in. Everything that a caller sends is checked here, once.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec
from kernel.errors import EventflowsError, InvalidInput

from runner.domain.adk_protocol import compact_json
from runner.domain.limits import (
    ACCOUNT_CHARACTERS_MAX,
    CARRIED_HEADER_CHARACTERS_MAX,
    HOPS_MAX,
    POSITION_MAX,
    RECORD_KEY_BYTES_MAX,
    REQUEST_ID_CHARACTERS_MAX,
    TIMEOUT_DEFAULT_S,
    TIMEOUT_MAX_S,
)
from runner.domain.run import (
    Carried,
    ContentType,
    EndpointFailed,
    Payload,
    RunAnswer,
    RunError,
    RunRequest,
)

ACCOUNT: Final = "X-Eventflows-Account"
REQUEST_ID: Final = "X-Eventflows-Request-Id"
RECORD_KEY: Final = "X-Eventflows-Record-Key"
FLOW: Final = "X-Eventflows-Flow"
ATTEMPT: Final = "X-Eventflows-Attempt"
HOPS: Final = "X-Eventflows-Hops"
POSITION: Final = "X-Eventflows-Position"
MODE: Final = "X-Eventflows-Mode"
TRACEPARENT: Final = "traceparent"
OUTCOME: Final = "X-Eventflows-Outcome"
"""Of runs that took place: `succeeded`, `failed`, or `timed_out` when the platform ended the run at
its time limit, so that callers need not read the body (whose error type an author may choose)."""
ERROR_MESSAGE: Final = "X-Error-Message"
DATA_TYPE: Final = "X-Data-Type"
LIVE: Final = "live"

ERROR_HEADER_CHARACTERS_MAX: Final = 500
JSON_TYPE: Final = "application/json"
_CONTENT_TYPES: Final = {
    JSON_TYPE: ContentType.JSON,
    "text/plain": ContentType.TEXT,
    "application/text": ContentType.TEXT,
    "application/octet-stream": ContentType.BINARY,
}
_RAW_TYPES: Final = {
    ContentType.JSON: JSON_TYPE,
    ContentType.TEXT: "text/plain; charset=utf-8",
    ContentType.BINARY: "application/octet-stream",
}
_WORD: Final = re.compile(r"[\x21-\x7e]+")
_MODE: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_TRUE: Final = frozenset({"true", "1"})


class OutputMode(StrEnum):
    """The query's `output`: the whole answer, the bare result, or only an acknowledgement."""

    DEFAULT = ""
    RAW = "raw"
    VOID = "void"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the query asks for. Unknown parameters are ignored, as Algorithmia did."""

    timeout_s: float
    with_stdout: bool
    output: OutputMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the headers tell, before the body is read."""

    account_id: str
    request_id: str | None
    content_type: ContentType
    is_base64: bool
    record_key: bytes | None
    mode: str
    position: int
    carried: Carried


@dataclass(frozen=True, slots=True, kw_only=True)
class WireAnswer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def read_options(query: Mapping[str, str]) -> Options:
    """Raises InvalidInput for a timeout or output that is none."""
    timeout_s = TIMEOUT_DEFAULT_S
    if text := query.get("timeout", ""):
        try:
            timeout_s = float(text)
        except ValueError:
            timeout_s = math.nan
        if not 0 < timeout_s <= TIMEOUT_MAX_S:
            raise InvalidInput(f"timeout is a number of seconds, at most {TIMEOUT_MAX_S:g}.")
    try:
        output = OutputMode(query.get("output", ""))
    except ValueError:
        raise InvalidInput("output is raw, void or absent.") from None
    with_stdout = query.get("stdout", "").lower() in _TRUE
    return Options(timeout_s=timeout_s, with_stdout=with_stdout, output=output)


def read_head(headers: Mapping[str, str]) -> Head:
    """From headers whose names compare without case. Raises InvalidInput, naming the header."""
    content_type, is_base64 = _content_type(headers)
    return Head(
        account_id=_word(headers, ACCOUNT, ACCOUNT_CHARACTERS_MAX, required=True),
        request_id=_word(headers, REQUEST_ID, REQUEST_ID_CHARACTERS_MAX) or None,
        content_type=content_type,
        is_base64=is_base64,
        record_key=_record_key(headers.get(RECORD_KEY)),
        mode=_mode(headers.get(MODE, LIVE)),
        position=_number(headers, POSITION, POSITION_MAX),
        carried=Carried(
            flow_id=_word(headers, FLOW, CARRIED_HEADER_CHARACTERS_MAX),
            attempt=_word(headers, ATTEMPT, CARRIED_HEADER_CHARACTERS_MAX),
            hops=_number(headers, HOPS, HOPS_MAX),
            traceparent=_word(headers, TRACEPARENT, CARRIED_HEADER_CHARACTERS_MAX),
        ),
    )


def read_payload(head: Head, body: bytes) -> Payload:
    """The input. Raises InvalidInput when the body is not what the headers say."""
    if head.is_base64:
        try:
            body = base64.b64decode(body, validate=True)
        except binascii.Error as error:
            raise InvalidInput(f"The body is not base64: {error}.") from error
    try:
        if head.content_type is ContentType.JSON:
            body = compact_json(body)
        elif head.content_type is ContentType.TEXT and not body.isascii():
            body.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The body is not UTF-8 at byte {error.start}.") from error
    except ValueError as error:
        raise InvalidInput(f"The body is not JSON: {error}.") from error
    return Payload(content_type=head.content_type, data=body)


def run_request(
    head: Head,
    options: Options,
    payload: Payload,
    *,
    owner_name: str,
    algorithm_name: str,
    version: str,
    fresh_request_id: str,
) -> RunRequest:
    """All of it together; `fresh_request_id` is taken when the caller gave none."""
    return RunRequest(
        account_id=head.account_id,
        owner_name=owner_name,
        algorithm_name=algorithm_name,
        version=version,
        request_id=head.request_id or fresh_request_id,
        repeatable=head.request_id is not None,
        input=payload,
        timeout_s=options.timeout_s,
        live=head.mode == LIVE,
        mode=head.mode,
        position=head.position,
        record_key=head.record_key,
        carried=head.carried,
    )


def answer(run: RunAnswer, options: Options) -> WireAnswer:
    """The answer of a run that took place, whatever it came to."""
    outcome = run.execution.outcome
    if isinstance(outcome, RunError):
        return _error_answer(run, outcome, options)
    headers = {OUTCOME: "succeeded"}
    if options.output is OutputMode.RAW:
        headers |= {
            "Content-Type": _RAW_TYPES[outcome.content_type],
            DATA_TYPE: outcome.content_type,
        }
        return WireAnswer(status=200, headers=headers, body=outcome.data)
    match outcome.content_type:
        case ContentType.JSON:
            result = outcome.data
        case ContentType.TEXT:
            result = msgspec.json.encode(outcome.data.decode())
        case ContentType.BINARY:
            result = b'"' + base64.b64encode(outcome.data) + b'"'
    metadata = msgspec.json.encode(
        {"content_type": outcome.content_type, **_metadata(run, options)}
    )
    body = b'{"result":' + result + b',"metadata":' + metadata + b"}"
    return WireAnswer(status=200, headers=headers | {"Content-Type": JSON_TYPE}, body=body)


def accepted(request_id: str) -> WireAnswer:
    """The answer of `output=void`, before the run."""
    return WireAnswer(
        status=200,
        headers={"Content-Type": JSON_TYPE},
        body=msgspec.json.encode({"async": "void", "request_id": request_id}),
    )


def refusal(
    error: EventflowsError, *, status: int, envelope: Mapping[str, Mapping[str, object]]
) -> WireAnswer:
    """The answer of a platform error, and of an endpoint that failed, which has its type."""
    headers = {"Content-Type": JSON_TYPE, ERROR_MESSAGE: _header_text(error.message)}
    told = dict(envelope["error"])
    if isinstance(error, EndpointFailed):
        told["error_type"] = error.error_type
    return WireAnswer(status=status, headers=headers, body=msgspec.json.encode({"error": told}))


def _error_answer(run: RunAnswer, error: RunError, options: Options) -> WireAnswer:
    told = {"message": error.message, "error_type": error.error_type}
    if error.stacktrace and run.for_author:
        told["stacktrace"] = error.stacktrace
    body = {"error": told, "metadata": _metadata(run, options)}
    headers = {
        "Content-Type": JSON_TYPE,
        OUTCOME: "timed_out" if error.timed_out else "failed",
        ERROR_MESSAGE: _header_text(error.message),
    }
    status = 400 if options.output is OutputMode.RAW else 200
    return WireAnswer(status=status, headers=headers, body=msgspec.json.encode(body))


def _metadata(run: RunAnswer, options: Options) -> dict[str, object]:
    told: dict[str, object] = {
        "duration": run.execution.duration_s,
        "request_id": run.request_id,
    }
    if options.with_stdout and run.for_owner:
        told["stdout"] = run.execution.stdout
    return told


def _header_text(message: str) -> str:
    """One line of printable ASCII: header fields can hold nothing else safely."""
    line = " ".join(message.split())
    printable = "".join(character if " " <= character <= "~" else "?" for character in line)
    return printable[:ERROR_HEADER_CHARACTERS_MAX]


def _content_type(headers: Mapping[str, str]) -> tuple[ContentType, bool]:
    given = headers.get("Content-Type", "")
    media_type = given.partition(";")[0].strip().lower()
    found = _CONTENT_TYPES.get(media_type)
    if found is None:
        raise InvalidInput(f"Content-Type must be one of {', '.join(_CONTENT_TYPES)}.")
    encoding = headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "base64"):
        raise InvalidInput("Content-Encoding must be base64 or absent.")
    return found, encoding == "base64"


def _word(
    headers: Mapping[str, str], name: str, characters_max: int, *, required: bool = False
) -> str:
    value = headers.get(name, "").strip()
    if not value and not required:
        return ""
    if len(value) > characters_max or not _WORD.fullmatch(value):
        raise InvalidInput(f"{name} must be 1 to {characters_max} printable ASCII characters.")
    return value


def _record_key(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{RECORD_KEY} must be base64.") from error
    if len(key) > RECORD_KEY_BYTES_MAX:
        raise InvalidInput(f"{RECORD_KEY} must hold at most {RECORD_KEY_BYTES_MAX} bytes.")
    return key


def _mode(text: str) -> str:
    if not _MODE.fullmatch(text):
        raise InvalidInput(f"{MODE} must be a word of lower-case letters, digits and hyphens.")
    return text


def _number(headers: Mapping[str, str], name: str, largest: int) -> int:
    """A header's number; 0 when it is absent."""
    text = headers.get(name, "0")
    short = len(text) <= len(str(largest))
    if not short or not text.isascii() or not text.isdigit() or int(text) > largest:
        raise InvalidInput(f"{name} must be a number from 0 to {largest}.")
    return int(text)
