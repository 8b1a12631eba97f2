"""Answers are read alike however the network cuts them."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router.adapters.http_answer import (
    HEADS_KEPT_MAX,
    AnswerLimits,
    AnswerReader,
    BadAnswer,
    HttpAnswer,
    KnownHeads,
)

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nX-Eventflows-Outcome: succeeded\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'5\r\nhello\r\n1;ext="a b"\r\n \r\n5\r\nworld\r\n0\r\nX-Eventflows-Outcome: failed\r\n\r\n'
)
LENGTH = b"HTTP/1.1 200 OK\r\nX-Empty:\r\nx-EMPTY-too: \r\nContent-Length: 11\r\n\r\nhello world"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\nRetry-After: 3\r\n\r\n"
ANSWERS = [CHUNKED, LENGTH, INTERIM + LENGTH, INTERIM + CHUNKED, EMPTY, INTERIM + EMPTY]
UNWANTED = 202
ODD = [
    LENGTH + b"!",
    LENGTH[:-1],
    b"\r\n" + LENGTH,
    LENGTH.replace(b"200 OK", b"202 Accepted"),
    LENGTH.replace(b"X-Empty:", b"Connection: close"),
    LENGTH.replace(b"1.1", b"1.0"),
    LENGTH.replace(b"Content-Length", b"Upgrade: h2c\r\nContent-Length"),
    LENGTH.replace(b"Content-Length: 11", b"Content-Length: 11\r\nTransfer-Encoding: chunked"),
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 11\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 11\r\n\r\nhello world",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nto the end",
    b"\r\n\r\n",
]


class Nothing(KnownHeads):
    """Keeps no head."""

    def __setitem__(self, *_: object) -> None:
        return


def reader(limits: AnswerLimits | None = None, *, known: KnownHeads | None = None) -> AnswerReader:
    return AnswerReader(
        wants_body=lambda status, headers: status != UNWANTED,
        limits=limits or AnswerLimits(),
        on_continue=lambda: None,
        known={} if known is None else known,
    )


def read(made: AnswerReader, pieces: list[bytes]) -> HttpAnswer:
    """Feed the pieces; the last one, and no other, must complete the answer."""
    made.begin()
    for piece in pieces[:-1]:
        assert not made.feed(piece)
    assert made.feed(pieces[-1])
    assert made.is_in_step
    return made.take()


def cut(text: bytes, places: list[int]) -> list[bytes]:
    if not text:
        return []
    ends = [0, *sorted({place % len(text) for place in places} - {0}), len(text)]
    return [text[begin:end] for begin, end in pairwise(ends)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ANSWERS), st.lists(st.integers(0, 999))), max_size=6))
def test_any_cut_of_any_answers_of_one_connection_reads_the_same(
    answers: list[tuple[bytes, list[int]]],
) -> None:
    made = reader()
    for text, places in answers:
        assert read(made, cut(text, places)) == read(reader(), [text])


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(ANSWERS + ODD), st.lists(st.integers(0, 99), max_size=2)),
        min_size=2,
    )
)
def test_a_head_that_was_read_before_is_read_alike(answers: list[tuple[bytes, list[int]]]) -> None:
    """On one connection after the other: a reader that begins with all that earlier ones knew says
    of each answer what the parser alone does."""
    known: KnownHeads = {}
    quick, plain = reader(known=known), reader(known=Nothing())
    for text, places in answers:
        pieces = cut(text, places)
        said = course(plain, pieces)
        assert course(quick, pieces) == said
        if said[-1] is not True:
            quick, plain = reader(known=known), reader(known=Nothing())


def course(made: AnswerReader, pieces: list[bytes]) -> list[object]:
    """What it says of each piece, of the answer, and last whether another one may follow."""
    made.begin()
    said: list[object] = []
    for piece in pieces:
        try:
            said.append(made.feed(piece))
        except BadAnswer as error:
            return [*said, str(error)]
        if said[-1]:
            return [*said, made.take(), made.is_in_step]
    return [*said, made.end(), made.take(), False]


def test_what_is_kept_of_heads_is_bounded() -> None:
    known: KnownHeads = {}
    made = reader(known=known)
    for number in range(3 * HEADS_KEPT_MAX):
        read(made, [LENGTH.replace(b"X-Empty:", b"X-Number: %d" % number)])
        assert 0 < len(known) <= HEADS_KEPT_MAX
    read(made, [LENGTH.replace(b"X-Empty:", b"X-Long: " + b"x" * 2_000)])
    assert not any(b"X-Long" in head for head in known)


@pytest.mark.parametrize("text", ANSWERS)
def test_byte_by_byte_reads_the_same(text: bytes) -> None:
    pieces = [text[at : at + 1] for at in range(len(text))]
    assert read(reader(), pieces) == read(reader(), [text])


def test_what_an_answer_says() -> None:
    answer = read(reader(), [INTERIM + CHUNKED])
    assert (answer.status, answer.body, answer.is_cut) == (200, b"hello world", False)
    assert answer.headers == {
        b"x-eventflows-outcome": b"succeeded",
        b"transfer-encoding": b"chunked",
    }
    empty = read(reader(), [LENGTH])
    assert (empty.headers[b"x-empty"], empty.headers[b"x-empty-too"]) == (b"", b"")


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 999)))
def test_any_bytes_are_an_answer_or_refused_and_never_another_error(
    text: bytes, places: list[int]
) -> None:
    made = reader()
    try:
        for piece in cut(text, places):
            if made.feed(piece):
                break
    except BadAnswer:
        pass
    made.end()
    made.take()


@settings(deadline=None)
@given(st.sampled_from(ANSWERS), st.integers(0, 999), st.lists(st.integers(0, 999)))
def test_a_piece_of_an_answer_is_never_taken_for_a_whole_one(
    text: bytes, place: int, places: list[int]
) -> None:
    made = reader()
    part = text[: place % len(text)]
    assert not any(made.feed(piece) for piece in cut(part, places))
    assert not made.end()


def test_a_reader_forgets_a_body_that_nobody_wants() -> None:
    made = AnswerReader(
        wants_body=lambda status, headers: False,
        limits=AnswerLimits(),
        on_continue=lambda: None,
        known={},
    )
    for _ in range(2):
        assert read(made, [LENGTH]).body == b""


def test_continue_is_told_in_the_middle_of_an_answer() -> None:
    told: list[str] = []
    made = AnswerReader(
        wants_body=lambda status, headers: True,
        limits=AnswerLimits(),
        on_continue=lambda: told.append("continue"),
        known={},
    )
    read(made, [INTERIM + LENGTH])
    assert told == ["continue"]


@pytest.mark.parametrize("more", [b"H", LENGTH, b"garbage", EMPTY])
def test_whatever_follows_an_answer_puts_the_connection_out_of_step(more: bytes) -> None:
    made = reader()
    assert made.feed(LENGTH + more)
    assert made.take().body == b"hello world"
    assert not made.is_in_step


def test_of_a_body_that_is_too_long_the_head_is_kept() -> None:
    made = reader(AnswerLimits(body_bytes_max=10))
    assert not made.feed(b"HTTP/1.1 500 No\r\nRetry-After: 2\r\nContent-Length: 99\r\n\r\n")
    assert made.feed(b"x" * 11)
    answer = made.take()
    assert (answer.status, answer.headers[b"retry-after"], answer.is_cut) == (500, b"2", True)
    assert not made.is_in_step
