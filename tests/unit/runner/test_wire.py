"""The HTTP wire, pure: headers and query in, status, headers and body out."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from kernel.errors import InvalidInput, NotFound
from multidict import CIMultiDict
from runner.domain import wire
from runner.domain.run import ContentType, Execution, Payload, RunAnswer, RunError

ACCOUNT = "acc-1"


def head(**headers: str) -> wire.Head:
    given = {"Content-Type": "application/json", "X-Eventflows-Account": ACCOUNT}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    return wire.read_head(CIMultiDict(given))


def answered(
    outcome: Payload | RunError,
    query: Mapping[str, str] | None = None,
    *,
    for_author: bool = False,
    for_owner: bool = False,
) -> wire.WireAnswer:
    execution = Execution(outcome=outcome, duration_s=0.25, stdout="printed")
    run = RunAnswer(
        execution=execution, request_id="req-1", for_author=for_author, for_owner=for_owner
    )
    return wire.answer(run, wire.read_options(query or {}))


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", ContentType.JSON),
        ("Application/JSON; charset=utf-8", ContentType.JSON),
        ("text/plain", ContentType.TEXT),
        ("application/text", ContentType.TEXT),
        ("application/octet-stream", ContentType.BINARY),
    ],
)
def test_the_known_content_types(content_type: str, expected: ContentType) -> None:
    assert head(Content_Type=content_type).content_type is expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Type", ""),
        ("Content-Type", "multipart/form-data"),
        ("Content-Encoding", "gzip"),
        ("X-Eventflows-Account", ""),
        ("X-Eventflows-Account", "x" * 129),
        ("X-Eventflows-Request-Id", "two words"),
        ("X-Eventflows-Request-Id", "grün"),
        ("X-Eventflows-Record-Key", "%%%"),
        ("X-Eventflows-Hops", "-1"),
        ("X-Eventflows-Hops", "many"),
        ("X-Eventflows-Position", "-1"),
        ("X-Eventflows-Position", "9" * 5000),
        ("X-Eventflows-Mode", "LIVE!"),
        ("traceparent", "x" * 513),
    ],
)
def test_a_header_that_makes_no_sense_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        head(**{name: value})


def test_absent_headers_have_their_defaults() -> None:
    read = head()
    assert (read.request_id, read.record_key, read.mode) == (None, None, "live")
    assert read.carried.hops == 0


def test_an_empty_record_key_is_a_key() -> None:
    assert head(X_Eventflows_Record_Key="").record_key == b""


def test_a_request_without_an_id_gets_a_fresh_one_that_nobody_repeats() -> None:
    for given, expected, repeatable in (
        ({}, "fresh", False),
        ({"X-Eventflows-Request-Id": "r"}, "r", True),
    ):
        request = wire.run_request(
            head(**given),
            wire.read_options({}),
            Payload(content_type=ContentType.JSON, data=b"1"),
            owner_name="o",
            algorithm_name="n",
            version="1.0.0",
            fresh_request_id="fresh",
        )
        assert (request.request_id, request.repeatable) == (expected, repeatable)


def test_the_default_timeout_is_300_s_and_at_most_3000() -> None:
    assert wire.read_options({}).timeout_s == 300.0
    assert wire.read_options({"timeout": "3000"}).timeout_s == 3000.0
    for wrong in ("3001", "0", "-1", "inf", "nan", "soon"):
        with pytest.raises(InvalidInput, match="timeout"):
            wire.read_options({"timeout": wrong})


@pytest.mark.parametrize(("word", "expected"), [("True", True), ("true", True), ("False", False)])
def test_stdout_is_spelled_as_clients_spell_it(word: str, expected: bool) -> None:
    assert wire.read_options({"stdout": word}).with_stdout is expected


def test_json_goes_out_as_the_text_it_came_in() -> None:
    answer = answered(Payload(content_type=ContentType.JSON, data=b"[1.50]"))
    assert answer.body == (
        b'{"result":[1.50],"metadata":{"content_type":"json","duration":0.25,"request_id":"req-1"}}'
    )
    assert answer.headers["X-Eventflows-Outcome"] == "succeeded"


def test_the_stack_trace_is_for_those_who_may_read_the_source() -> None:
    error = RunError(message="m", error_type="E", stacktrace="trace")
    assert "stacktrace" not in json.loads(answered(error).body)["error"]
    told = json.loads(answered(error, for_author=True).body)["error"]
    assert told == {"message": "m", "error_type": "E", "stacktrace": "trace"}


def test_what_was_printed_is_for_the_owner() -> None:
    result = Payload(content_type=ContentType.JSON, data=b"1")
    asked = {"stdout": "true"}
    assert "stdout" not in json.loads(answered(result, asked).body)["metadata"]
    assert (
        json.loads(answered(result, asked, for_owner=True).body)["metadata"]["stdout"] == "printed"
    )
    assert "stdout" not in json.loads(answered(result, for_owner=True).body)["metadata"]


def test_an_error_is_200_and_in_raw_mode_400() -> None:
    error = RunError(message="first line\nsecond: grün")
    assert answered(error).status == 200
    raw = answered(error, {"output": "raw"})
    assert raw.status == 400
    assert raw.headers["X-Error-Message"] == "first line second: gr?n"
    assert raw.headers["X-Eventflows-Outcome"] == "failed"


@pytest.mark.parametrize("query", [{}, {"output": "raw"}])
def test_only_the_platforms_own_timeout_is_marked_as_one(query: dict[str, str]) -> None:
    ours = RunError(message="late", error_type="TimeoutError", timed_out=True)
    theirs = RunError(message="late", error_type="TimeoutError")
    marked, unmarked = answered(ours, query), answered(theirs, query)
    assert marked.headers["X-Eventflows-Outcome"] == "timed_out"
    assert unmarked.headers["X-Eventflows-Outcome"] == "failed"
    assert marked.body == unmarked.body


def test_raw_results_are_bare() -> None:
    for kind, expected in (
        (ContentType.JSON, "application/json"),
        (ContentType.TEXT, "text/plain; charset=utf-8"),
        (ContentType.BINARY, "application/octet-stream"),
    ):
        answer = answered(Payload(content_type=kind, data=b"1"), {"output": "raw"})
        assert (answer.status, answer.body) == (200, b"1")
        assert answer.headers["Content-Type"] == expected


def test_a_refusal_has_the_envelope_and_its_message_as_a_header() -> None:
    answer = wire.refusal(NotFound("no\r\nsuch"), status=404, envelope={"error": {}})
    assert answer.status == 404
    assert answer.headers["X-Error-Message"] == "no such"
