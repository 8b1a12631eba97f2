"""What a run is made from and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kernel.errors import Unavailable

TIMEOUT_ERROR = "TimeoutError"
SYSTEM_EXIT = "SystemExit"
LOADING_ERROR = "LoadingError"
PARSING_ERROR = "ParsingError"
TOO_LARGE_ERROR = "TooLargeError"
ALGORITHM_ERROR = "AlgorithmError"


class ContentType(StrEnum):
    """How input and results are to be read; the values are the ADK's words."""

    JSON = "json"
    TEXT = "text"
    BINARY = "binary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """Input or result. `data`: JSON text in UTF-8 for json, UTF-8 for text, the bytes for binary.

    Whoever makes one has checked that `data` is what `content_type` says.
    """

    content_type: ContentType
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RunError:
    """The run ended without a result; `error_type` is one of `algorithmia-api.md` 3.2.

    `timed_out`: the platform ended the run at its time limit. The type alone does not tell, since
    an author's code may raise a TimeoutError of its own.
    """

    message: str
    error_type: str = ALGORITHM_ERROR
    stacktrace: str = ""
    timed_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What an executor brings back. `stdout` holds stderr too, the newest bytes, as they came."""

    outcome: Payload | RunError
    duration_s: float
    stdout: str = ""


class EndpointFailed(Unavailable):
    """An endpoint was reached and says that it failed: perhaps it is in trouble, perhaps it will
    say so of this input for ever. By `error_type` callers tell it from one that is away."""

    error_type: Final = "EndpointError"


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What travels along with a run without changing it; empty: absent."""

    flow_id: str = ""
    attempt: str = ""
    hops: int = 0
    traceparent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """One asked-for run. `version` is a semantic version, Algorithmia's words for one, or a commit.

    `request_id` is the caller's when `repeatable`, else one of ours that nobody can send again.
    `position`: the place in the registry's log that the caller goes by; we must know it too.
    """

    account_id: str
    owner_name: str
    algorithm_name: str
    version: str
    request_id: str
    repeatable: bool
    input: Payload
    timeout_s: float
    live: bool = True
    mode: str = "live"
    position: int = 0
    record_key: bytes | None = None
    carried: Carried = Carried()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAnswer:
    """What the caller learns. `for_author`: may read the source, so may see stack traces;
    `for_owner`: owns the algorithm, so may see what it printed."""

    execution: Execution
    request_id: str
    for_author: bool
    for_owner: bool
