"""What an answer of `POST /v1/algo/…` means (`algorithmia-api` 2.2). Pure.

| Answer | Outcome |
| --- | --- |
| 200 with `result` | succeeded |
| 200 with `error` that the header calls `timed_out` | timed out |
| 200 with `error` of type TimeoutError, from a runner without that header | timed out |
| 200 with `error` of type LoadingError, SystemExit | crashed: not loaded there; process died |
| 200 with any other `error` | algorithm error |
| 408, 425, 429 | overloaded, with its Retry-After |
| 401, 403, 407 and 5xx | unreachable: the platform's trouble, which passes |
| every other status | refused: the request itself is wrong |
"""

from __future__ import annotations

import json
from typing import Any, Final

from router.domain.outcome import REASON_TOO_LARGE, SUCCEEDED, Outcome, OutcomeKind, failed

OUTCOME_HEADER: Final = "X-Eventflows-Outcome"
"""`succeeded`, `failed` or `timed_out`. The first spares us to look into the body of a 200, the
last tells the platform's own timeout from an author's error of that name."""
_TIMED_OUT: Final = "timed_out"
_SAID_BY_RUNNER: Final = frozenset({"failed", _TIMED_OUT})
_KINDS_OF_ERRORS: Final = {
    "TimeoutError": OutcomeKind.TIMED_OUT,
    "LoadingError": OutcomeKind.CRASHED,
    "SystemExit": OutcomeKind.CRASHED,
}
"""The errors that say nothing about the record; every other one is the algorithm's own word."""
RETRY_AFTER_DEFAULT_S: Final = 1.0

_OK: Final = 200
_OVERLOADED: Final = frozenset({408, 425, 429})
_PLATFORM: Final = frozenset({401, 403, 407})
_SERVER_ERROR: Final = 500
_REASONS: Final = {404: "not_found", 413: REASON_TOO_LARGE}


def needs_body(status: int, outcome_header: str | None) -> bool:
    """Is the body needed to judge the answer? Not that of a success that says so itself."""
    return status != _OK or outcome_header != "succeeded"


def judge(
    status: int, body: bytes, *, outcome_header: str | None, retry_after: str | None
) -> Outcome:
    """The outcome of an answer; `body` may be empty if `needs_body` is False."""
    if status == _OK:
        return _judge_ok(body, outcome_header)
    message, error_type = _error_of(_parsed(body))
    message = message or f"the runner answered {status}"
    if status in _OVERLOADED:
        return failed(
            OutcomeKind.OVERLOADED,
            message,
            error_type=error_type,
            retry_after_s=_seconds(retry_after),
        )
    if status in _PLATFORM or status >= _SERVER_ERROR:
        seconds = None if retry_after is None else _seconds(retry_after)
        return failed(
            OutcomeKind.UNREACHABLE, message, error_type=error_type, retry_after_s=seconds
        )
    return failed(
        OutcomeKind.REFUSED, message, error_type=error_type, reason=_REASONS.get(status, "")
    )


def _judge_ok(body: bytes, outcome_header: str | None) -> Outcome:
    if outcome_header == "succeeded":
        return SUCCEEDED
    answer = _parsed(body)
    if not isinstance(answer, dict) or not ("error" in answer or "result" in answer):
        return failed(OutcomeKind.UNREACHABLE, "the runner's answer has no result and no error")
    if answer.get("error") is None and outcome_header not in _SAID_BY_RUNNER:
        return SUCCEEDED
    message, error_type = _error_of(answer)
    kind = _kind(error_type, outcome_header)
    return failed(kind, message or "the algorithm failed", error_type=error_type)


def _kind(error_type: str, outcome_header: str | None) -> OutcomeKind:
    if outcome_header == _TIMED_OUT:
        return OutcomeKind.TIMED_OUT
    kind = _KINDS_OF_ERRORS.get(error_type, OutcomeKind.ALGORITHM_ERROR)
    authors_own = kind is OutcomeKind.TIMED_OUT and outcome_header in _SAID_BY_RUNNER
    return OutcomeKind.ALGORITHM_ERROR if authors_own else kind


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _error_of(answer: Any) -> tuple[str, str]:
    """Message and type; some of Algorithmia's errors are a bare string."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, str):
        return error, ""
    if isinstance(error, dict):
        return str(error.get("message") or ""), str(error.get("error_type") or "")
    return "", ""


def _seconds(retry_after: str | None) -> float:
    """Delta seconds; the form with a date is answered with the default."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return RETRY_AFTER_DEFAULT_S
    return seconds if 0.0 <= seconds < float("inf") else RETRY_AFTER_DEFAULT_S
