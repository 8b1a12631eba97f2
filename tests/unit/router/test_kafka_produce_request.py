"""Produce as we write and read it, beside aiokafka's own fields."""

import struct
from io import BytesIO
from typing import Any

import pytest
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from router.adapters import kafka_producers

BATCHES = [
    ("results", [(0, bytearray(b"batch")), (11, bytearray())]),
    ("larger", [(2, bytearray(70_000))]),
]
ANSWER = [
    ("results", [(0, 0, 2**40, -1, 7), (11, 6, -1, -1, -1)]),
    ("larger", [(2, 0, 5, 1_700_000_000_000, 0)]),
]
_ = kafka_producers  # whoever writes by it has them written here


def answer(topics: list[Any]) -> bytes:
    encoded: bytes = ProduceResponse_v7.SCHEMA.encode([topics, 9])
    return encoded


@pytest.mark.parametrize("transaction", [None, "", "of somebody else in this process"])
@pytest.mark.parametrize("topics", [[], BATCHES[:1], BATCHES])
def test_a_request_is_written_as_by_aiokafka(topics: list[Any], transaction: str | None) -> None:
    fields = [transaction, -1, 15_000, topics]
    assert ProduceRequest_v7.encode is not ProduceRequest_v7.__mro__[1].encode
    assert ProduceRequest_v7(*fields).encode() == ProduceRequest_v7.SCHEMA.encode(fields)


@pytest.mark.parametrize("topics", [[], ANSWER[:1], ANSWER])
def test_an_answer_is_read_as_by_aiokafka(topics: list[Any]) -> None:
    read = ProduceResponse_v7.decode(BytesIO(answer(topics)))
    assert (read.topics, read.throttle_time_ms) == (topics, 9)


def test_half_an_answer_is_none() -> None:
    whole = answer(ANSWER)
    for length in range(len(whole)):
        with pytest.raises(struct.error):
            ProduceResponse_v7.decode(BytesIO(whole[:length]))
