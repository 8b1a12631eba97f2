"""What the runner's answers mean."""

import json

import pytest
from router.domain.outcome import ERROR_TEXT_MAX, SUCCEEDED, Outcome, OutcomeKind
from router.domain.runner_answer import RETRY_AFTER_DEFAULT_S, judge, needs_body


def answer(
    status: int, body: object = None, *, header: str | None = None, retry_after: str | None = None
) -> Outcome:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return judge(status, text, outcome_header=header, retry_after=retry_after)


def test_a_result_is_a_success() -> None:
    assert answer(200, {"result": None, "metadata": {}}) == SUCCEEDED


def test_a_success_that_says_so_needs_no_body() -> None:
    assert not needs_body(200, "succeeded")
    assert needs_body(200, "failed")
    assert needs_body(200, None)
    assert needs_body(500, "succeeded")
    assert answer(200, b"", header="succeeded") == SUCCEEDED


@pytest.mark.parametrize("header", [None, "failed"])
def test_an_error_object_is_an_algorithm_error(header: str | None) -> None:
    body = {"error": {"message": "bad input", "error_type": "InputError"}, "metadata": {}}
    outcome = answer(200, body, header=header)
    assert outcome.kind is OutcomeKind.ALGORITHM_ERROR
    assert (outcome.error_type, outcome.error) == ("InputError", "bad input")


def test_a_timeout_of_the_run_is_told_apart() -> None:
    body = {"error": {"message": "too slow", "error_type": "TimeoutError"}}
    assert answer(200, body).kind is OutcomeKind.TIMED_OUT


@pytest.mark.parametrize("error_type", ["LoadingError", "SystemExit"])
def test_an_algorithm_that_could_not_be_loaded_or_died_is_told_apart(error_type: str) -> None:
    outcome = answer(200, {"error": {"message": "gone", "error_type": error_type}}, header="failed")
    assert (outcome.kind, outcome.error_type) == (OutcomeKind.CRASHED, error_type)


def test_half_a_character_in_an_error_is_replaced() -> None:
    """JSON can carry a lone surrogate; no UTF-8 can, and so no status and no header."""
    body = b'{"error": {"message": "a\\ud800b", "error_type": "c\\udfff"}}'
    outcome = answer(200, body)
    assert (outcome.error, outcome.error_type) == ("a?b", "c?")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"{}", b"[" * 100_000])
def test_a_200_that_is_no_answer_is_the_platforms_error(body: bytes) -> None:
    assert answer(200, body).kind is OutcomeKind.UNREACHABLE


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, OutcomeKind.OVERLOADED),
        (408, OutcomeKind.OVERLOADED),
        (500, OutcomeKind.UNREACHABLE),
        (503, OutcomeKind.UNREACHABLE),
        (401, OutcomeKind.UNREACHABLE),
        (400, OutcomeKind.REFUSED),
        (404, OutcomeKind.REFUSED),
        (413, OutcomeKind.REFUSED),
        (302, OutcomeKind.REFUSED),
    ],
)
def test_other_statuses_have_a_class_each(status: int, kind: OutcomeKind) -> None:
    outcome = answer(status, {"error": {"message": "why"}})
    assert (outcome.kind, outcome.error) == (kind, "why")


def test_an_error_may_be_a_bare_string() -> None:
    outcome = answer(404, {"error": "No such algorithm"})
    assert (outcome.error, outcome.word) == ("No such algorithm", "not_found")


def test_an_answer_without_a_message_names_its_status() -> None:
    assert answer(502, b"<html>").error == "the runner answered 502"


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("3", 3.0),
        (None, RETRY_AFTER_DEFAULT_S),
        ("soon", RETRY_AFTER_DEFAULT_S),
        ("-1", RETRY_AFTER_DEFAULT_S),
        ("nan", RETRY_AFTER_DEFAULT_S),
        ("inf", RETRY_AFTER_DEFAULT_S),
    ],
)
def test_an_overloaded_runner_says_when_to_come_back(
    retry_after: str | None, seconds: float
) -> None:
    assert answer(429, {}, retry_after=retry_after).retry_after_s == seconds


def test_a_platform_error_may_say_when_to_come_back() -> None:
    assert answer(503, {}, retry_after="2").retry_after_s == 2.0
    assert answer(503, {}).retry_after_s is None


def test_a_long_error_is_cut() -> None:
    assert len(answer(500, {"error": "x" * 100_000}).error) == ERROR_TEXT_MAX


@pytest.mark.parametrize(
    ("header", "error_type", "kind"),
    [
        ("timed_out", "TimeoutError", OutcomeKind.TIMED_OUT),
        ("timed_out", "anything", OutcomeKind.TIMED_OUT),
        ("failed", "TimeoutError", OutcomeKind.ALGORITHM_ERROR),  # the author's own
        (None, "TimeoutError", OutcomeKind.TIMED_OUT),  # an older runner
        ("failed", "SystemExit", OutcomeKind.CRASHED),
    ],
)
def test_the_platforms_timeout_is_told_from_an_authors_error_of_that_name(
    header: str | None, error_type: str, kind: OutcomeKind
) -> None:
    body = json.dumps({"error": {"message": "m", "error_type": error_type}}).encode()
    assert judge(200, body, outcome_header=header, retry_after=None).kind is kind
