"""Moments, hashes and heads as people write them."""

from __future__ import annotations

from datetime import UTC

import pytest
from eventflows_cli import moments
from kernel.errors import InvalidInput


def test_now_is_no_moment_of_the_past() -> None:
    assert moments.as_of("now") is None


def test_digits_are_a_position() -> None:
    moment = moments.as_of("42")
    assert moment is not None
    assert moment.position == 42


@pytest.mark.parametrize("text", ["2026-11-24T09:30:00Z", "2026-11-24T10:30:00+01:00"])
def test_a_time_is_the_same_moment_in_every_zone(text: str) -> None:
    moment = moments.as_of(text)
    assert moment is not None
    assert moment.time.ToDatetime(tzinfo=UTC).isoformat() == "2026-11-24T09:30:00+00:00"


def test_microseconds_are_kept() -> None:
    moment = moments.as_of("2026-11-24T09:30:00.123456Z")
    assert moment is not None
    assert moment.time.nanos == 123_456_000


@pytest.mark.parametrize(
    "text", ["", "yesterday", "-1", "1.5", "٤٢", "9" * 20, "2026-13-01T00:00Z"]
)
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InvalidInput, match="position"):
        moments.as_of(text)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidInput, match="has no zone"):
        moments.as_of("2026-11-24T09:30:00")


def test_a_head_is_read_as_it_is_shown() -> None:
    assert moments.head("7:" + "ab" * 32) == (7, b"\xab" * 32)


@pytest.mark.parametrize("text", ["7", "7:", "7:ab", "x:" + "ab" * 32, "7:" + "zz" * 32])
def test_a_head_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"log stat|whole number"):
        moments.head(text)
