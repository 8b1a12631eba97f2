"""What a record's bytes are called when they are sent to an algorithm."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router.domain.content_type import (
    BINARY,
    JSON,
    TEXT,
    completion_content_type,
    content_of,
    sniff,
)


@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        (b'{"a": 1}', JSON),
        (b" [1, 2]\n", JSON),
        (b'"text in quotes"', JSON),
        (b"-1.5e3", JSON),
        (b"true", JSON),
        (b"9" * 10_000, JSON),
        (b"hello", TEXT),
        (b"NaN", TEXT),
        (b"[NaN]", TEXT),
        (b"-Infinity", TEXT),
        (b'{"a": 1', TEXT),
        (b"[" * 100_000, TEXT),
        ("grüße".encode(), TEXT),
        (b"\xff\xfe", BINARY),
        ('{"a": 1}'.encode("utf-16"), BINARY),
    ],
)
def test_bytes_that_nobody_described_are_looked_at(value: bytes, content_type: str) -> None:
    assert content_of(value, {}) == (value, content_type)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_all_json_is_recognised(value: object) -> None:
    assert sniff(json.dumps(value).encode()) == JSON


def test_a_tombstone_is_null_whatever_its_header_says() -> None:
    assert content_of(None, {}) == (b"null", JSON)
    assert content_of(None, {"content-type": b"text/plain"}) == (b"null", JSON)


@pytest.mark.parametrize(
    ("headers", "content_type"),
    [
        ({}, TEXT),
        ({"content-type": b"text/plain"}, TEXT),
        ({"content-type": b"application/octet-stream"}, BINARY),
        ({"content-type": b"application/json"}, JSON),
        ({"ef-content-type": b"text"}, TEXT),
    ],
)
def test_an_empty_value_is_no_tombstone(headers: dict[str, bytes], content_type: str) -> None:
    assert content_of(b"", headers) == (b"", content_type)


@pytest.mark.parametrize(
    ("header", "content_type"),
    [
        (b"application/octet-stream", BINARY),
        (b"Text/Plain; charset=utf-8", TEXT),
        (b"application/json", JSON),
        (b"image/png", JSON),
        (b"\xff", JSON),
    ],
)
def test_the_records_own_header_decides_if_it_names_one_of_the_three(
    header: bytes, content_type: str
) -> None:
    assert content_of(b"1", {"content-type": header})[1] == content_type


def test_the_type_of_a_completion_goes_along() -> None:
    text = {"ef-content-type": b"text"}
    assert content_of(b"1", text) == (b"1", TEXT)
    assert completion_content_type(text) == b"text/plain"
    assert completion_content_type({}) == b"application/octet-stream"
