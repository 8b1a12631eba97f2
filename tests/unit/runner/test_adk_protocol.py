"""The ADK's lines: what goes in as it is, and every way in which an answer may be wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runner.domain.adk_protocol import (
    compact_json,
    parse_answer,
    parse_load_report,
    request_line,
)
from runner.domain.limits import OUTPUT_BYTES_MAX
from runner.domain.run import ContentType, Payload, RunError

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(value=JSON_VALUES, indent=st.sampled_from([None, 2]), ascii_only=st.booleans())
def test_any_json_becomes_one_line_with_the_same_value(
    value: object, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    line = request_line(Payload(content_type=ContentType.JSON, data=compact_json(text)))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line) == {"content_type": "json", "data": value}


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_becomes_one_line(text: str) -> None:
    line = request_line(Payload(content_type=ContentType.TEXT, data=text.encode()))
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"content_type": "text", "data": text}


def test_numbers_keep_their_digits() -> None:
    assert compact_json(b"[ 1.50, 123456789012345678901234567890, 1e400 ]") == (
        b"[1.50,123456789012345678901234567890,1e400]"
    )


@pytest.mark.parametrize("text", [b"", b"NaN", b"[1,]", b"{} {}", b'"\xff"', b"[" * 90_000])
def test_what_is_not_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  each has a message of its own
        compact_json(text)


@pytest.mark.parametrize(
    ("line", "content_type", "data"),
    [
        (b'{"result":{"a":1.0},"metadata":{"content_type":"json"}}', "json", b'{"a":1.0}'),
        (b'{"result":null,"metadata":{"content_type":"json"}}', "json", b"null"),
        (b'{"result":"gr\\u00fcn","metadata":{"content_type":"text"}}', "text", "grün".encode()),
        (b'{"result":"AP8=","metadata":{"content_type":"binary"}}', "binary", b"\x00\xff"),
    ],
)
def test_results_are_read_by_their_content_type(
    line: bytes, content_type: str, data: bytes
) -> None:
    assert parse_answer(line) == Payload(content_type=ContentType(content_type), data=data)


@pytest.mark.parametrize(
    "line",
    [
        b'{"result":NaN,"metadata":{"content_type":"json"}}',
        b'{"result":[1,Infinity],"metadata":{"content_type":"json"}}',
        b'{"result":"%%%","metadata":{"content_type":"binary"}}',
        b'{"result":1,"metadata":{"content_type":"text"}}',
        b'{"result":1,"metadata":{"content_type":"void"}}',
        b'{"result":"\xff","metadata":{"content_type":"json"}}',
        b'{"result":1}',
        b"{}",
        b"[]",
        b"done",
        b"",
    ],
)
def test_an_answer_that_breaks_the_protocol_is_a_parsing_error(line: bytes) -> None:
    answer = parse_answer(line)
    assert isinstance(answer, RunError)
    assert answer.error_type == "ParsingError"


@pytest.mark.parametrize("kind", [b"null", b"7", b'""', b"{}"])
def test_an_error_type_that_is_no_word_becomes_algorithm_error(kind: bytes) -> None:
    line = b'{"error":{"message":"m","error_type":' + kind + b',"stacktrace":"s"}}'
    expected = RunError(message="m", error_type="AlgorithmError", stacktrace="s")
    assert parse_answer(line) == expected


def test_an_unknown_error_type_passes_through() -> None:
    answer = parse_answer(b'{"error":{"message":"m","error_type":"MyError"}}')
    assert answer == RunError(message="m", error_type="MyError")


def test_the_limit_of_15_mb_counts_the_result_as_json() -> None:
    def line(count: int) -> bytes:
        return b'{"result":"' + b"x" * count + b'","metadata":{"content_type":"text"}}'

    assert isinstance(parse_answer(line(OUTPUT_BYTES_MAX - 2)), Payload)
    too_large = parse_answer(line(OUTPUT_BYTES_MAX - 1))
    assert isinstance(too_large, RunError)
    assert too_large.error_type == "TooLargeError"


def test_a_load_report_says_loaded_or_why_not() -> None:
    assert parse_load_report(b'{"loaded":true,"error":null}') is None
    failure = parse_load_report(b'{"loaded":false,"error":{"message":"m","error_type":"E"}}')
    assert failure == RunError(message="m", error_type="E")
    assert parse_load_report(b'{"result":1}') is not None
