"""What an answer of `POST /v1/algo/…` means (`algorithmia-api` 2.2). Pure.

| Answer | Outcome |
| --- | --- |
| 2xx whose header says `succeeded`; 2xx with `result` | succeeded |
| 201, 202, 204, 205 without `error` | succeeded: whoever says so has taken the record over |
| 2xx that the header calls `timed_out` | timed out |
| 2xx with `error` of type TimeoutError, from a runner without that header | timed out |
| 2xx with `error` of type LoadingError, SystemExit | crashed: not loaded there; process died |
| 2xx with any other `error` | algorithm error |
| 2xx with a result longer than any may be | algorithm error: the next one is no shorter |
| any other 2xx, so 200 without result and error | unreachable: somebody else answered |
| 3xx | unreachable: an address is wrong, whatever the record is |
| 408, 409, 425, 429 | overloaded: not now (409: an attempt of it goes on); Retry-After counts |
| 401, 403, 407, 417 | unreachable: the platform's trouble, which passes |
| 404, 405, 410, 421 without `error` | unreachable: a gateway says so, not the runner |
| 504 | no answer: a gateway waited in vain, and the run may go on |
| every other 5xx and above | unreachable |
| every other 4xx, so 400, 413, 422, and 404 with `error` | refused: the request itself is wrong |

What was never answered has no row here: `HttpPool` tells whether the request was sent (no answer)
or not (unreachable).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from router.domain.outcome import REASON_TOO_LARGE, SUCCEEDED, Outcome, OutcomeKind, failed

OUTCOME_HEADER: Final = "X-Eventflows-Outcome"
"""`succeeded`, `failed` or `timed_out`. The first spares us to look into the body of a 200, the
last tells the platform's own timeout from an author's error of that name."""
_SUCCEEDED: Final = "succeeded"
_TIMED_OUT: Final = "timed_out"
_SAID_BY_RUNNER: Final = frozenset({"failed", _TIMED_OUT})
_KINDS_OF_ERRORS: Final = {
    "TimeoutError": OutcomeKind.TIMED_OUT,
    "LoadingError": OutcomeKind.CRASHED,
    "SystemExit": OutcomeKind.CRASHED,
}
"""The errors that say nothing about the record; every other one is the algorithm's own word."""
RETRY_AFTER_DEFAULT_S: Final = 1.0

_OK, _REDIRECTS, _CLIENT_ERROR, _SERVER_ERROR = 200, 300, 400, 500
_TAKEN_OVER: Final = frozenset({201, 202, 204, 205})
_OVERLOADED: Final = frozenset({408, 409, 425, 429})
_PLATFORM: Final = frozenset({401, 403, 407, 417})
_OF_ROUTES: Final = frozenset({404, 405, 410, 421})
"""What servers say that do not know our path; a runner says it with an `error`."""
_GATEWAY_TIMEOUT: Final = 504
_REASONS: Final = {404: "not_found", 413: REASON_TOO_LARGE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A final HTTP answer. Of a header that is absent: None. `is_cut`: longer than we read."""

    status: int
    body: bytes = b""
    outcome_header: str | None = None
    retry_after: str | None = None
    date: str | None = None
    is_cut: bool = False


def needs_body(status: int, outcome_header: str | None) -> bool:
    """Is the body needed to judge the answer? Not that of a success that says so itself."""
    return not _OK <= status < _REDIRECTS or outcome_header != _SUCCEEDED


def judge(answer: Answer, *, now: datetime) -> Outcome:
    """The outcome of an answer; its body may be left out if `needs_body` is False.

    `now` (aware UTC) counts where a Retry-After is a date and the answer has none of its own.
    """
    status = answer.status
    if _OK <= status < _REDIRECTS:
        return _judge_success(answer)
    message, error_type = _error_of(_parsed(answer.body))
    kind = _kind_of_status(status, has_words=bool(message or error_type))
    wait_s = None
    if answer.retry_after is not None or kind is OutcomeKind.OVERLOADED:
        wait_s = _retry_after_s(answer, now)
    return failed(
        kind,
        message or f"the runner answered {status}",
        error_type=error_type,
        reason=_REASONS.get(status, "") if kind is OutcomeKind.REFUSED else "",
        retry_after_s=None if kind is OutcomeKind.REFUSED else wait_s,
    )


def _kind_of_status(status: int, *, has_words: bool) -> OutcomeKind:
    if status in _OVERLOADED:
        return OutcomeKind.OVERLOADED
    if status == _GATEWAY_TIMEOUT:
        return OutcomeKind.NO_ANSWER
    if status in _PLATFORM or not _CLIENT_ERROR <= status < _SERVER_ERROR:
        return OutcomeKind.UNREACHABLE
    if status in _OF_ROUTES and not has_words:
        return OutcomeKind.UNREACHABLE
    return OutcomeKind.REFUSED


def _judge_success(given: Answer) -> Outcome:
    header = given.outcome_header
    if header == _SUCCEEDED:
        return SUCCEEDED
    if given.is_cut:
        text = "the answer is longer than any answer may be"
        return failed(OutcomeKind.ALGORITHM_ERROR, text, error_type="AnswerTooLarge")
    answer = _parsed(given.body)
    if not isinstance(answer, dict) or not ("error" in answer or "result" in answer):
        if given.status in _TAKEN_OVER and header not in _SAID_BY_RUNNER:
            return SUCCEEDED
        return failed(OutcomeKind.UNREACHABLE, "the runner's answer has no result and no error")
    if answer.get("error") is None and header not in _SAID_BY_RUNNER:
        return SUCCEEDED
    message, error_type = _error_of(answer)
    kind = _kind_of_error(error_type, header)
    return failed(kind, message or "the algorithm failed", error_type=error_type)


def _kind_of_error(error_type: str, outcome_header: str | None) -> OutcomeKind:
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


def _retry_after_s(answer: Answer, now: datetime) -> float:
    """Both forms of RFC 9110: seconds, or a date, from the answer's own Date on if it has one."""
    text = answer.retry_after or ""
    try:
        seconds = float(text)
    except ValueError:
        until = _date(text)
        if until is None:
            return RETRY_AFTER_DEFAULT_S
        seconds = max(0.0, (until - (_date(answer.date or "") or now)).total_seconds())
    return seconds if 0.0 <= seconds < float("inf") else RETRY_AFTER_DEFAULT_S


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date.replace(tzinfo=date.tzinfo or UTC)
