"""What the runner's answers mean: one row for each case of the table."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from router.domain.outcome import ERROR_TEXT_MAX, SUCCEEDED, Outcome, OutcomeKind
from router.domain.runner_answer import RETRY_AFTER_DEFAULT_S, Answer, judge, needs_body

NOW = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)
HTML = b"<html>not here</html>"
K = OutcomeKind


def answer(
    status: int, body: object = None, *, header: str | None = None, retry_after: str | None = None
) -> Outcome:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = Answer(status=status, body=text, outcome_header=header, retry_after=retry_after)
    return judge(given, now=NOW)


def error(message: str = "why", error_type: str = "") -> dict[str, object]:
    return {"error": {"message": message, "error_type": error_type}}


@pytest.mark.parametrize(
    ("status", "header", "body", "kind"),
    [
        # 2xx: the header's word, else the body's.
        (200, "succeeded", b"", K.SUCCEEDED),
        (204, "succeeded", b"", K.SUCCEEDED),
        (200, None, {"result": None, "metadata": {}}, K.SUCCEEDED),
        (206, None, {"result": 1}, K.SUCCEEDED),
        (200, None, {"result": 1, "error": None}, K.SUCCEEDED),
        (200, None, error(error_type="InputError"), K.ALGORITHM_ERROR),
        (200, "failed", error(error_type="InputError"), K.ALGORITHM_ERROR),
        (201, None, error(error_type="InputError"), K.ALGORITHM_ERROR),
        (200, None, {"error": "a bare string"}, K.ALGORITHM_ERROR),
        (200, None, error(error_type="TimeoutError"), K.TIMED_OUT),
        (200, "timed_out", error(error_type="TimeoutError"), K.TIMED_OUT),
        (200, "timed_out", error(error_type="anything"), K.TIMED_OUT),
        (200, "failed", error(error_type="TimeoutError"), K.ALGORITHM_ERROR),  # the author's own
        (200, "failed", error(error_type="LoadingError"), K.CRASHED),
        (200, "failed", error(error_type="SystemExit"), K.CRASHED),
        (200, None, error(error_type="SystemExit"), K.CRASHED),
        # 2xx without a word: who says 201, 202, 204, 205 has taken the record over.
        (201, None, b"", K.SUCCEEDED),
        (202, None, b"", K.SUCCEEDED),
        (204, None, b"", K.SUCCEEDED),
        (205, None, b"", K.SUCCEEDED),
        (202, None, {"request_id": "r"}, K.SUCCEEDED),
        (202, "failed", b"", K.UNREACHABLE),
        (200, None, b"", K.UNREACHABLE),
        (200, None, HTML, K.UNREACHABLE),
        (200, None, [1], K.UNREACHABLE),
        (200, None, {}, K.UNREACHABLE),
        (200, None, b"[" * 100_000, K.UNREACHABLE),
        (203, None, HTML, K.UNREACHABLE),
        (226, None, b"", K.UNREACHABLE),
        # 3xx are not followed: an address is wrong, whatever the record is.
        (301, None, b"", K.UNREACHABLE),
        (302, None, b"", K.UNREACHABLE),
        (304, None, b"", K.UNREACHABLE),
        (307, None, b"", K.UNREACHABLE),
        (308, None, b"", K.UNREACHABLE),
        # 4xx about the request.
        (400, None, error(), K.REFUSED),
        (400, None, HTML, K.REFUSED),
        (402, None, b"", K.REFUSED),
        (404, None, error(), K.REFUSED),
        (405, None, error(), K.REFUSED),
        (406, None, b"", K.REFUSED),
        (410, None, error(), K.REFUSED),
        (411, None, b"", K.REFUSED),
        (412, None, b"", K.REFUSED),
        (413, None, HTML, K.REFUSED),
        (414, None, b"", K.REFUSED),
        (415, None, b"", K.REFUSED),
        (422, None, error(), K.REFUSED),
        (431, None, b"", K.REFUSED),
        (451, None, b"", K.REFUSED),
        # 4xx about the route, in nobody's words.
        (404, None, HTML, K.UNREACHABLE),
        (404, None, b"", K.UNREACHABLE),
        (405, None, HTML, K.UNREACHABLE),
        (410, None, b"", K.UNREACHABLE),
        (421, None, b"", K.UNREACHABLE),
        # 4xx about the platform.
        (401, None, error(), K.UNREACHABLE),
        (403, None, error(), K.UNREACHABLE),
        (407, None, b"", K.UNREACHABLE),
        (417, None, b"", K.UNREACHABLE),
        # Not now.
        (408, None, b"", K.OVERLOADED),
        (409, None, error(), K.OVERLOADED),
        (425, None, b"", K.OVERLOADED),
        (429, None, error(), K.OVERLOADED),
        # 5xx.
        (500, None, error(), K.UNREACHABLE),
        (500, "succeeded", b"", K.UNREACHABLE),
        (501, None, b"", K.UNREACHABLE),
        (502, None, HTML, K.UNREACHABLE),
        (503, None, error(), K.UNREACHABLE),
        (504, None, HTML, K.NO_ANSWER),
        (507, None, b"", K.UNREACHABLE),
        (599, None, b"", K.UNREACHABLE),
        (999, None, b"", K.UNREACHABLE),
    ],
)
def test_each_answer_has_a_class(
    status: int, header: str | None, body: object, kind: OutcomeKind
) -> None:
    assert answer(status, body, header=header).kind is kind


def test_a_success_that_says_so_needs_no_body() -> None:
    assert not needs_body(200, "succeeded")
    assert not needs_body(202, "succeeded")
    assert needs_body(200, "failed")
    assert needs_body(200, None)
    assert needs_body(500, "succeeded")


def test_an_error_says_what_and_why() -> None:
    outcome = answer(200, error("bad input", "InputError"))
    assert (outcome.error_type, outcome.error) == ("InputError", "bad input")


def test_an_answer_longer_than_any_may_be_is_the_algorithms_error() -> None:
    cut = Answer(status=200, body=b'{"result": "xxxx', is_cut=True)
    outcome = judge(cut, now=NOW)
    assert (outcome.kind, outcome.error_type) == (K.ALGORITHM_ERROR, "AnswerTooLarge")
    assert judge(replace(cut, outcome_header="succeeded"), now=NOW) == SUCCEEDED
    assert judge(replace(cut, status=503), now=NOW).kind is K.UNREACHABLE


def test_half_a_character_in_an_error_is_replaced() -> None:
    """JSON can carry a lone surrogate; no UTF-8 can, and so no status and no header."""
    body = b'{"error": {"message": "a\\ud800b", "error_type": "c\\udfff"}}'
    outcome = answer(200, body)
    assert (outcome.error, outcome.error_type) == ("a?b", "c?")


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "not_found"), (413, "record_too_large"), (400, "refused")]
)
def test_a_refusal_narrows_its_reason_down(status: int, reason: str) -> None:
    assert answer(status, {"error": "No such algorithm"}).word == reason


def test_a_route_that_is_missing_is_no_reason_of_a_refusal() -> None:
    assert answer(404, HTML).word == "unreachable"


def test_an_answer_without_a_message_names_its_status() -> None:
    assert answer(502, HTML).error == "the runner answered 502"


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("3", 3.0),
        ("0", 0.0),
        (None, RETRY_AFTER_DEFAULT_S),
        ("soon", RETRY_AFTER_DEFAULT_S),
        ("-1", RETRY_AFTER_DEFAULT_S),
        ("nan", RETRY_AFTER_DEFAULT_S),
        ("inf", RETRY_AFTER_DEFAULT_S),
        ("", RETRY_AFTER_DEFAULT_S),
        ("Mon, 30 Nov 2026 12:00:30 GMT", 30.0),
        ("Monday, 30-Nov-26 12:00:30 GMT", 30.0),  # RFC 850
        ("Mon Nov 30 12:00:30 2026", 30.0),  # asctime
        ("Mon, 30 Nov 2026 11:00:00 GMT", 0.0),  # past
        ("Mon, 99 Nov 2026 11:00:00 GMT", RETRY_AFTER_DEFAULT_S),
    ],
)
def test_an_overloaded_runner_says_when_to_come_back_in_seconds_or_with_a_date(
    retry_after: str | None, seconds: float
) -> None:
    assert answer(429, {}, retry_after=retry_after).retry_after_s == seconds


def test_a_date_to_come_back_counts_from_the_answers_own_date() -> None:
    """So a runner whose clock is wrong by an hour still gets its 30 seconds."""
    given = Answer(
        status=429,
        retry_after="Mon, 30 Nov 2026 15:00:30 GMT",
        date="Mon, 30 Nov 2026 15:00:00 GMT",
    )
    assert judge(given, now=NOW).retry_after_s == 30.0


def test_a_platform_error_may_say_when_to_come_back() -> None:
    assert answer(503, {}, retry_after="2").retry_after_s == 2.0
    assert answer(503, {}).retry_after_s is None
    assert answer(400, {}, retry_after="2").retry_after_s is None


def test_a_long_error_is_cut() -> None:
    assert len(answer(500, {"error": "x" * 100_000}).error) == ERROR_TEXT_MAX


def test_an_endpoint_that_failed_itself_is_tried_again_and_has_a_type_for_the_flows_rules() -> None:
    failure = answer(503, error(error_type="EndpointError"))
    assert (failure.kind, failure.error_type) == (K.UNREACHABLE, "EndpointError")
