"""The text that stands with a commit."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router.application.limits import SPAN_RECORDS_MAX
from router.domain.commit_metadata import METADATA_BYTES_MAX, decode, encode, less_bytes
from router.domain.low_water import Mark, Ranges
from router.domain.topic_identity import TopicIdentity

GAPS = 500


@st.composite
def marks(draw: st.DrawFn) -> Mark:
    position = draw(st.integers(0, 2**62))
    ranges: list[tuple[int, int]] = []
    at = position
    for gap, length in draw(
        st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)), max_size=2_000)
    ):
        ranges.append((at + gap, at + gap + length))
        at += gap + length
    return Mark(position=position, finished=tuple(ranges))


@given(marks(), st.integers(0, METADATA_BYTES_MAX))
def test_what_fits_comes_back_and_the_lowest_is_kept(mark: Mark, bytes_max: int) -> None:
    text, is_whole = encode(mark, bytes_max=bytes_max)
    assert len(text.encode("ascii")) <= bytes_max
    kept = decode(mark.position, text)
    assert kept is not None
    assert kept == mark.finished[: len(kept)]
    assert is_whole == (kept == mark.finished)


def test_nothing_finished_is_no_text() -> None:
    assert encode(Mark(position=5)) == ("", True)
    assert decode(5, "") == ()


def test_the_form_is_written_down() -> None:
    # Another release must read what this one wrote.
    text, _ = encode(Mark(position=100, finished=((101, 101), (140, 1_000))))
    assert text == "1;b8072173;1,14-p0"
    assert decode(100, text) == ((101, 101), (140, 1_000))


def test_text_of_another_position_means_nothing() -> None:
    assert decode(6, encode(Mark(position=5, finished=((7, 9),))).text) is None


@given(st.integers(0, METADATA_BYTES_MAX), st.integers(0, 60))
def test_a_broker_with_less_room_is_given_less_and_the_topics_identity_goes_last(
    allowed_bytes: int, prefix_bytes: int
) -> None:
    tries = [METADATA_BYTES_MAX]
    while tries[-1] > allowed_bytes:
        tries.append(less_bytes(tries[-1], prefix_bytes=prefix_bytes))
    assert len(tries) <= 14
    assert (tries[-1] >= prefix_bytes) == (allowed_bytes >= prefix_bytes)
    assert tries[-1] > allowed_bytes // 2 or tries[-1] in (0, prefix_bytes)


@given(st.text())
def test_text_that_is_not_ours_means_nothing(text: str) -> None:
    assert decode(5, f"x{text}") is None


@pytest.mark.parametrize("body", ["5-1", "5,4", "1-3,3", "", "1,,2", "-1"])
def test_ranges_that_cannot_be_mean_nothing(body: str) -> None:
    checksum = f"{zlib.crc32(f'5;{body}'.encode()):08x}"
    ranges: Ranges | None = decode(5, f"1;{checksum};{body}")
    assert ranges is None


def test_500_gaps_within_the_span_limit_find_room_whatever_they_are() -> None:
    """None of them among the first, whose numbers are shorter, and beside the longest identity."""
    begin = 5 + SPAN_RECORDS_MAX - 4 * GAPS
    finished = tuple((begin + 4 * n, begin + 4 * n + 2) for n in range(GAPS))
    identity = TopicIdentity(topic_id="f" * 32, partitions=10_000)
    mark = Mark(position=5, finished=finished)
    text, is_whole = encode(mark, bytes_max=METADATA_BYTES_MAX - len(identity.prefix))
    assert is_whole
    assert decode(5, text) == finished
