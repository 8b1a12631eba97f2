"""The lines that the runner and an algorithm's process exchange (`algorithmia-api.md` 4.3, 4.4).

JSON passes through as the text it is: numbers keep their digits.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from runner.domain.limits import (
    ERROR_MESSAGE_CHARACTERS_MAX,
    OUTPUT_BYTES_MAX,
    STACKTRACE_CHARACTERS_MAX,
)
from runner.domain.run import (
    ALGORITHM_ERROR,
    LOADING_ERROR,
    PARSING_ERROR,
    TOO_LARGE_ERROR,
    ContentType,
    Payload,
    RunError,
)


class _Metadata(msgspec.Struct):
    content_type: ContentType


class _Error(msgspec.Struct):
    message: object = ""
    error_type: object = ALGORITHM_ERROR
    stacktrace: object = ""


class _Answer(msgspec.Struct):
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    metadata: _Metadata | None = None
    error: _Error | None = None


class _LoadReport(msgspec.Struct):
    loaded: bool
    error: _Error | None = None


_answers = msgspec.json.Decoder(_Answer)
_reports = msgspec.json.Decoder(_LoadReport)
_texts = msgspec.json.Decoder(str)


def request_line(payload: Payload) -> bytes:
    """The line that asks for one run, with its newline."""
    match payload.content_type:
        case ContentType.JSON:
            data = compact_json(payload.data)
        case ContentType.TEXT:
            data = msgspec.json.encode(payload.data.decode())
        case ContentType.BINARY:
            data = b'"' + base64.b64encode(payload.data) + b'"'
    kind = payload.content_type.encode()
    return b'{"content_type":"' + kind + b'","data":' + data + b"}\n"


def compact_json(text: bytes) -> bytes:
    """The same JSON on one line. Raises ValueError when it is not JSON in UTF-8, or too deep."""
    if not text.isascii():
        text.decode()  # the formatter does not look inside strings
    try:
        return msgspec.json.format(text, indent=-1)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error


def parse_answer(line: bytes) -> Payload | RunError:
    """What one answer line says. A line that breaks the protocol is a ParsingError of that run."""
    try:
        answer = _answers.decode(line)
        if answer.error is not None:
            return _run_error(answer.error)
        if isinstance(answer.result, msgspec.UnsetType) or answer.metadata is None:
            return _unreadable("it has neither a result with metadata nor an error")
        return _payload(answer.metadata.content_type, bytes(answer.result))
    except (ValueError, RecursionError) as error:
        return _unreadable(str(error))


def parse_load_report(line: bytes) -> RunError | None:
    """None: loaded. Else why not; an unreadable report counts as not loaded."""
    try:
        report = _reports.decode(line)
    except ValueError:
        return RunError(
            message="the algorithm wrote to the answer pipe before it was loaded",
            error_type=LOADING_ERROR,
        )
    if report.loaded:
        return None
    return _run_error(report.error or _Error(message="load failed", error_type=LOADING_ERROR))


def too_large(size_bytes: int) -> RunError:
    """The error of a result above the limit."""
    return RunError(
        message=f"the result has {size_bytes} bytes as JSON; {OUTPUT_BYTES_MAX} are allowed",
        error_type=TOO_LARGE_ERROR,
    )


def _payload(content_type: ContentType, raw: bytes) -> Payload | RunError:
    if len(raw) > OUTPUT_BYTES_MAX:
        return too_large(len(raw))
    if content_type is ContentType.JSON:
        if not raw.isascii():
            raw.decode()
        return Payload(content_type=content_type, data=raw)
    text = _texts.decode(raw)
    if content_type is ContentType.TEXT:
        return Payload(content_type=content_type, data=text.encode())
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"its binary result is not base64: {error}") from error
    return Payload(content_type=content_type, data=data)


def _run_error(error: _Error) -> RunError:
    kind = error.error_type
    return RunError(
        message=_text(error.message)[:ERROR_MESSAGE_CHARACTERS_MAX],
        error_type=kind if isinstance(kind, str) and kind else ALGORITHM_ERROR,
        stacktrace=_text(error.stacktrace)[:STACKTRACE_CHARACTERS_MAX],
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _unreadable(why: str) -> RunError:
    return RunError(
        message=f"the algorithm's answer is not valid JSON of the protocol (NaN and Infinity are "
        f"not JSON): {why}"[:ERROR_MESSAGE_CHARACTERS_MAX],
        error_type=PARSING_ERROR,
    )
