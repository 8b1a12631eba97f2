"""Requests and answers of a fetch session, against aiokafka's own types of each version."""

from io import BytesIO
from typing import Any

import pytest
from aiokafka.protocol import fetch
from router.adapters.kafka_fetch_session import (
    CORRELATION_BYTES,
    NO_SESSION,
    FetchAnswer,
    FetchedPartition,
    FetchSession,
    framed,
    read_answer,
)

VERSIONS = range(4, 12)
BYTES_MAX, PARTITION_BYTES_MAX = 16_000_000, 4_000_000


def session(*, read_committed: bool = False) -> FetchSession:
    made = FetchSession("t", read_committed=read_committed, bytes_max=BYTES_MAX)
    made.partition_bytes_max = PARTITION_BYTES_MAX
    return made


def ask(asking: FetchSession, wanted: dict[int, int], *, version: int = 11) -> Any:
    """The request as aiokafka reads it."""
    kind = getattr(fetch, f"FetchRequest_v{version}")
    body = asking.request(wanted, version=version, wait_ms=7)
    asked = kind.decode(BytesIO(body))
    assert asked.encode() == body, "nothing is left over"
    return asked


def answer(session_id: int = 5, error_code: int = 0) -> FetchAnswer:
    return FetchAnswer(error_code, session_id, [])


def positions_of(asked: Any) -> dict[int, int]:
    rows = [row for _, partitions in asked.topics for row in partitions]
    return {row[0]: row[2] for row in rows}


def forgotten_of(asked: Any) -> set[int]:
    return {number for _, numbers in asked.forgotten_topics_data for number in numbers}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_first_request_says_what_aiokafka_would_say(version: int) -> None:
    builder = fetch.FetchRequest(
        7, 1, BYTES_MAX, 1, [("t", [(3, 30, 4_000_000), (1, 10, 4_000_000)])]
    )
    expected = builder.build(getattr(fetch, f"FetchRequest_v{version}"))
    asked = ask(session(read_committed=True), {3: 30, 1: 10}, version=version)
    if version >= 7:
        assert (expected.session_epoch, asked.session_epoch) == (-1, 0), "but begins a session"
        asked.session_epoch = -1
    assert asked.encode() == expected.encode()


def test_later_requests_say_what_has_changed() -> None:
    asking = session()
    assert positions_of(ask(asking, {0: 10, 1: 20, 2: 30})) == {0: 10, 1: 20, 2: 30}
    asking.answered(answer())
    second = ask(asking, {0: 10, 1: 21, 3: 40})
    assert (second.session_id, second.session_epoch) == (5, 1)
    assert positions_of(second) == {1: 21, 3: 40}
    assert forgotten_of(second) == {2}
    asking.answered(answer())
    third = ask(asking, {0: 10, 1: 21, 3: 40})
    assert (third.session_epoch, third.topics, third.forgotten_topics_data) == (2, [], [])


def test_a_partition_that_was_forgotten_is_told_again() -> None:
    asking = session()
    ask(asking, {0: 10, 1: 20})
    asking.answered(answer())
    assert forgotten_of(ask(asking, {0: 10})) == {1}
    asking.answered(answer())
    assert positions_of(ask(asking, {0: 10, 1: 20})) == {1: 20}


def test_after_a_lost_answer_everything_is_told_again_and_the_old_session_ended() -> None:
    asking = session()
    ask(asking, {0: 10})
    asking.answered(answer())
    ask(asking, {0: 11})
    asking.lost()
    again = ask(asking, {0: 11})
    assert (again.session_id, again.session_epoch) == (5, 0)
    assert positions_of(again) == {0: 11}


@pytest.mark.parametrize("refusal", [answer(0, 70), answer(0, 71), answer(NO_SESSION)])
def test_a_broker_that_keeps_no_session_is_told_everything(refusal: FetchAnswer) -> None:
    asking = session()
    ask(asking, {0: 10})
    asking.answered(answer())
    ask(asking, {0: 10})
    asking.answered(refusal)
    again = ask(asking, {0: 10})
    assert (again.session_epoch, positions_of(again)) == (0, {0: 10})


def test_epochs_begin_again_at_one() -> None:
    asking = session()
    ask(asking, {0: 10})
    asking._epoch = 2**31 - 1
    asking.answered(answer())
    assert ask(asking, {0: 10}).session_epoch == 1


def test_a_request_on_the_wire_has_its_length_and_its_sender() -> None:
    wire = framed(b"body", version=11, correlation_id=9, client_id=b"me")
    header = fetch.FetchRequest_v11(*[None] * 10).build_request_header(9, "me").encode()
    assert wire == len(header + b"body").to_bytes(4) + header + b"body"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_answer_is_read_as_aiokafka_reads_it(version: int) -> None:
    kind = getattr(fetch, f"FetchResponse_v{version}")
    start = [0] if version >= 5 else []
    replica = [-1] if version >= 11 else []
    rows = [
        (3, 0, 90, 80, *start, [(7, 70), (8, 71)], *replica, b"records"),
        (1, 6, -1, -1, *start, None, *replica, None),
    ]
    top = [0, 5] if version >= 7 else []
    encoded = kind(12, *top, [("t", rows)]).encode()
    found = read_answer(b"head" + encoded, version=version, begin=CORRELATION_BYTES)
    assert found == FetchAnswer(
        0,
        5 if version >= 7 else NO_SESSION,
        [
            FetchedPartition(3, 0, 90, 80, [(7, 70), (8, 71)], b"records"),
            FetchedPartition(1, 6, -1, -1, [], b""),
        ],
    )
