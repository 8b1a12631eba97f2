"""Gives the sequence numbers of a refused batch back, as Kafka's own client does.

An idempotent producer numbers the records of a partition, and the broker takes them in that order
alone. aiokafka 0.14 counts on when it sends a batch; one that is refused leaves a gap, and all that
follows in its partition is out of order (checked). Then a new producer was needed, and all flows
that shared it waited for that. A broker that gives one of `REFUSALS` has appended nothing, so the
numbers are free again. Not if the batch was sent twice: its first copy may have been appended, and
other records under these numbers would be taken for it, and lost. Then the gap stays, and is told.

Price: reaches into private parts of aiokafka 0.14, which is pinned (`_sender`, `_txn_manager`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from router.adapters.kafka_errors import InvalidRecordError

REFUSALS: Final = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidRecordError,
    TopicAuthorizationFailedError,
)


def keep_sequences(producer: AIOKafkaProducer, *, gap_left: Callable[[], None]) -> None:
    """To be told of an idempotent producer before it is started; `gap_left` is called when one of
    its partitions will take nothing more of it."""
    sender, manager = producer._sender, producer._txn_manager
    send = sender._send_produce_req

    async def send_and_look(node_id: int, batches: Mapping[TopicPartition, Any]) -> None:
        await send(node_id, batches)
        # In the same step in which the next batch of each partition was allowed to be sent.
        for partition, batch in batches.items():
            failure = batch.future.exception() if batch.future.done() else None
            if failure is None:
                continue  # written, or about to be sent again
            if batch.retry_count == 1 and isinstance(failure, REFUSALS):
                manager.increment_sequence_number(partition, -batch.record_count)
            else:
                gap_left()

    sender._send_produce_req = send_and_look
