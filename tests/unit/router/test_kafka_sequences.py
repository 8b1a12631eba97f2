"""What a producer of aiokafka counts when a broker refuses a batch. The broker says what the test
has it say; that a real one takes the next batch is tested with it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.protocol.produce import ProduceResponse_v7
from router.adapters.kafka_sequences import REFUSALS, keep_sequences

PLACE = TopicPartition("t", 0)
NO_ERROR, TIMED_OUT, TOO_LARGE, OUT_OF_ORDER = 0, 7, 10, 45
INVALID_TOPIC = 17


class Producing:
    """A producer that is not connected."""

    def __init__(self) -> None:
        self.producer = AIOKafkaProducer(enable_idempotence=True, retry_backoff_ms=1)
        self.gaps = 0
        self._codes: list[int] = []
        self._manager = self.producer._txn_manager
        self._manager.set_pid_and_epoch(1, 0)
        self.producer.client.send = self._answer
        keep_sequences(self.producer, gap_left=self._count)

    async def send(self, records: int, *codes: int) -> None:
        """One batch of so many records, with the broker's answers to it."""
        self._codes = list(codes)
        sender, accumulator = self.producer._sender, self.producer._message_accumulator
        batch = accumulator._append_batch(accumulator.create_builder(), PLACE)
        written = [batch.append(b"k", b"v", None) for _ in range(records)]
        while self._codes:
            assert accumulator._pop_batch(PLACE) is batch
            sender._in_flight.add(0)
            sender._muted_partitions.add(PLACE)
            await sender._send_produce_req(0, {PLACE: batch})
        assert {each.exception() is None for each in written} == {codes[-1] == NO_ERROR}

    @property
    def next_number(self) -> int:
        return int(self._manager.sequence_number(PLACE))

    def _count(self) -> None:
        self.gaps += 1

    async def _answer(self, node_id: int, request: Any) -> Any:
        return ProduceResponse_v7([("t", [(0, self._codes.pop(0), 0, -1, 0)])], 0)


@asynccontextmanager
async def producing() -> AsyncIterator[Producing]:
    made = Producing()
    yield made
    await made.producer.stop()


@pytest.mark.parametrize("code", [kind.errno for kind in REFUSALS])
async def test_a_batch_that_a_broker_refuses_leaves_no_gap(code: int) -> None:
    async with producing() as some:
        await some.send(3, NO_ERROR)
        await some.send(2, code)
        assert some.next_number == 3
        await some.send(1, NO_ERROR)
        assert (some.next_number, some.gaps) == (4, 0)


async def test_a_batch_that_may_have_been_appended_keeps_its_numbers() -> None:
    """Other records under the same numbers would be taken for it."""
    async with producing() as some:
        await some.send(2, TIMED_OUT, TOO_LARGE)
        assert (some.next_number, some.gaps) == (2, 1)


@pytest.mark.parametrize("code", [INVALID_TOPIC, OUT_OF_ORDER])
async def test_a_batch_that_failed_for_another_reason_leaves_a_gap_that_is_told(code: int) -> None:
    async with producing() as some:
        await some.send(2, code)
        assert (some.next_number, some.gaps) == (2, 1)


async def test_a_batch_that_was_written_at_last_leaves_no_gap() -> None:
    async with producing() as some:
        await some.send(2, TIMED_OUT, NO_ERROR)
        assert (some.next_number, some.gaps) == (2, 0)
