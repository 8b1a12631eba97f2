"""One table: what each error of `kernel.errors` is in gRPC and in HTTP, in both directions.

An error crosses a process boundary as a status plus trailing metadata (`ef-code`, and for
Overloaded `retry-after-ms`), and becomes the same class again on the other side. The price: a class
has exactly one gRPC status, so a new class needs a status that is still free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NoReturn

import grpc
import grpc.aio
from kernel.errors import (
    AlreadyExists,
    EventflowsError,
    InvalidInput,
    NotAllowed,
    NotFound,
    Overloaded,
    StateForbids,
    TimedOut,
    TooLarge,
    Unauthenticated,
    Unavailable,
    VersionConflict,
)

CODE_METADATA: Final = "ef-code"
"""Trailing metadata: the error's numeric code. Present on every error that *our* code raised; a
status without it comes from gRPC itself or from the identity check."""
RETRY_AFTER_METADATA: Final = "retry-after-ms"

RETRY_AFTER_DEFAULT_S: Final = 1.0
"""When the other side refused for overload without saying for how long."""
UNREACHABLE: Final = "A service that is needed for this cannot be reached; try again later."
MESSAGE_CHARACTERS_MAX: Final = 2_000
"""gRPC carries the message in a header, and headers share a limit of 8 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What one class of error is on the wire."""

    grpc: grpc.StatusCode
    http: int


FAILURES: Final[Mapping[type[EventflowsError], Failure]] = MappingProxyType(
    {
        EventflowsError: Failure(grpc=grpc.StatusCode.INTERNAL, http=500),
        InvalidInput: Failure(grpc=grpc.StatusCode.INVALID_ARGUMENT, http=400),
        Unauthenticated: Failure(grpc=grpc.StatusCode.UNAUTHENTICATED, http=401),
        NotAllowed: Failure(grpc=grpc.StatusCode.PERMISSION_DENIED, http=403),
        NotFound: Failure(grpc=grpc.StatusCode.NOT_FOUND, http=404),
        AlreadyExists: Failure(grpc=grpc.StatusCode.ALREADY_EXISTS, http=409),
        StateForbids: Failure(grpc=grpc.StatusCode.FAILED_PRECONDITION, http=409),
        VersionConflict: Failure(grpc=grpc.StatusCode.ABORTED, http=412),
        TooLarge: Failure(grpc=grpc.StatusCode.OUT_OF_RANGE, http=413),
        Overloaded: Failure(grpc=grpc.StatusCode.RESOURCE_EXHAUSTED, http=429),
        Unavailable: Failure(grpc=grpc.StatusCode.UNAVAILABLE, http=503),
        TimedOut: Failure(grpc=grpc.StatusCode.DEADLINE_EXCEEDED, http=504),
    }
)

_CLASS_OF_STATUS: Final = {failure.grpc: kind for kind, failure in FAILURES.items()}

# The words of gRPC core ("Received message larger than max (5 vs. 4)"), which has no status of its
# own for it: it says RESOURCE_EXHAUSTED, and waiting would never help.
_GRPC_SIZE_WORDS: Final = "message larger than max"


def failure_of(error: EventflowsError) -> Failure:
    """The row of the error's class, or of its nearest listed ancestor."""
    for kind in type(error).__mro__:
        found = FAILURES.get(kind)
        if found is not None:
            return found
    raise TypeError(f"{type(error).__name__} is not an EventflowsError")


def grpc_status(error: EventflowsError) -> grpc.StatusCode:
    """The gRPC status that tells of `error`."""
    return failure_of(error).grpc


def http_status(error: EventflowsError) -> int:
    """The HTTP status that tells of `error`."""
    return failure_of(error).http


def class_of_status(status: grpc.StatusCode) -> type[EventflowsError]:
    """The class that a gRPC status stands for; EventflowsError for those that no class has."""
    return _CLASS_OF_STATUS.get(status, EventflowsError)


def trailing_metadata(error: EventflowsError) -> tuple[tuple[str, str], ...]:
    """What goes with the status, so that the other side can raise the same error."""
    metadata = [(CODE_METADATA, str(error.code))]
    if isinstance(error, Overloaded):
        metadata.append((RETRY_AFTER_METADATA, str(max(0, round(error.retry_after_s * 1_000)))))
    return tuple(metadata)


def error_envelope(
    error: EventflowsError, *, request_id: str | None = None
) -> dict[str, dict[str, str | int]]:
    """The body of an HTTP answer in Algorithmia's shape: `{"error": {"id", "code", "message"}}`.

    `id` is there only when a request id is given.
    """
    body: dict[str, str | int] = {"code": error.code, "message": error.message}
    return {"error": body if request_id is None else {"id": request_id, **body}}


def error_from_status(
    status_error: grpc.aio.AioRpcError, *, unreachable: str = UNREACHABLE
) -> EventflowsError:
    """The kernel's error behind a failed call, with the message and code of the other side.

    A refusal by the identity check (UNAUTHENTICATED or PERMISSION_DENIED without `ef-code`) is
    about *this process's* token, not about the user whose request it serves, so it becomes a plain
    EventflowsError and never a 401 or 403 for that user. Statuses that gRPC itself made get a
    sentence of ours, since gRPC's names addresses; it stays in the cause. A call cancelled by the
    other side becomes Unavailable: what was asked may or may not have happened. `unreachable` is
    the sentence for a service that cannot be reached, for callers that know what that means.
    """
    status = status_error.code()
    details = status_error.details() or ""
    metadata = _text_metadata(status_error.trailing_metadata())
    code = _number(metadata.get(CODE_METADATA))
    if code is None:
        return _made_by_grpc(status, details, unreachable=unreachable)
    kind = class_of_status(status)
    if kind is Overloaded:
        wait_ms = _number(metadata.get(RETRY_AFTER_METADATA))
        wait_s = RETRY_AFTER_DEFAULT_S if wait_ms is None else wait_ms / 1_000
        return Overloaded(details, retry_after_s=wait_s, code=code)
    return kind(details, code=code)


def raise_from_status(
    status_error: grpc.aio.AioRpcError, *, unreachable: str = UNREACHABLE
) -> NoReturn:
    """Raises `error_from_status(…)`, with the status as its cause."""
    raise error_from_status(status_error, unreachable=unreachable) from status_error


def _made_by_grpc(status: grpc.StatusCode, details: str, *, unreachable: str) -> EventflowsError:
    """For a status without `ef-code`: from gRPC or the network, or from the identity check."""
    match status:
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return EventflowsError("A service refused this one's token; check its identities file.")
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return Unavailable(unreachable)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return TimedOut("A service did not answer in time; try again later.")
        case grpc.StatusCode.RESOURCE_EXHAUSTED if _GRPC_SIZE_WORDS in details:
            return TooLarge("The message is larger than services take; send less.")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Overloaded(
                "A service has too many calls at once; try again.",
                retry_after_s=RETRY_AFTER_DEFAULT_S,
            )
        case _:
            return EventflowsError(f"A call between services failed with {status.name}.")


def _text_metadata(metadata: object) -> dict[str, str]:
    pairs: Iterable[tuple[str, object]] = metadata if isinstance(metadata, Iterable) else ()
    return {key: value for key, value in pairs if isinstance(value, str)}


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
