"""What the relay has written, and how it goes on: one transaction a batch, under one name.

The transaction makes the event records and the state records of a batch visible together, and its
name (`transactional.id`) fences a second relay: who starts later goes on, the earlier one stops. So
for readers with `isolation.level=read_committed` nothing is repeated, skipped or reordered; others
may see the records of a batch twice after a crash, with the same position in `ce_position`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordListTooLargeError,
    RecordTooLargeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from kernel.errors import EventflowsError, NotAllowed, StateForbids, TooLarge, Unavailable
from servicekit.kafka_goodbye import stop_consumer, stop_producer

from eventflows_cli.relay import topics
from eventflows_cli.relay.records import POSITION_HEADER, Record

REQUEST_TIMEOUT_S: Final = 30.0
"""A record has up to 24 MiB, and an answer that is not whole by then is asked for again from its
beginning: over TLS, beside two busy cores, one was seen to take seven seconds."""
START_TIMEOUT_S: Final = 30.0
WRITE_TIMEOUT_S: Final = 20.0
ABORT_TIMEOUT_S: Final = 3.0
READ_TIMEOUT_S: Final = 120.0
"""The last record of each of two topics, with room for one more attempt at each."""
STOP_TIMEOUT_S: Final = 3.0
TRANSACTION_TIMEOUT_S: Final = 60.0
_NOT_ALLOWED: Final = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError)
LOOK_BACK_FIRST: Final = 2
"""Offsets that are read from the end for the last record, ten times more each time: at first the
record and the marker of its transaction, for a hundred of the largest records are gigabytes."""


class KafkaLog:
    """The relay's topics. Enter it to take the name over, leave it to close.

    `settings` are those of any aiokafka client.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        full_topic: str,
        state_topic: str,
    ) -> None:
        self._settings = {**settings, "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1000)}
        self._full_topic = full_topic
        self._state_topic = state_topic
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        """Raises Unavailable, StateForbids (the topics do not fit), NotAllowed."""
        try:
            with _kafka_errors("starting the relay"):
                async with asyncio.timeout(START_TIMEOUT_S):
                    await topics.ensure(
                        self._settings, full=self._full_topic, state=self._state_topic
                    )
                    self._producer = AIOKafkaProducer(
                        **self._settings,
                        transactional_id=f"eventflows-relay-{self._full_topic}",
                        transaction_timeout_ms=int(TRANSACTION_TIMEOUT_S * 1000),
                        max_request_size=topics.RECORD_BYTES_MAX,
                    )
                    await self._producer.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the producer; one whose broker is gone would wait for it for ever."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop(producer)

    async def last(self) -> ConsumerRecord[bytes, bytes] | None:
        """The last committed record of the full topic; None before the first one.

        Raises Unavailable, NotAllowed; StateForbids when the topic was emptied, or when the state
        topic does not end at the same event: it would lack states, or go back to older ones.
        """
        with _kafka_errors("reading the relay's last record"):
            async with asyncio.timeout(READ_TIMEOUT_S):
                consumer = AIOKafkaConsumer(
                    **self._settings,
                    enable_auto_commit=False,
                    isolation_level="read_committed",
                    auto_offset_reset="none",
                    max_partition_fetch_bytes=2 * topics.RECORD_BYTES_MAX,
                )
                try:
                    await consumer.start()
                    full = await self._last(consumer, self._full_topic)
                    self._check_states(full, await self._last(consumer, self._state_topic))
                    return full
                finally:
                    await stop_consumer(consumer, wait_s=STOP_TIMEOUT_S)

    async def write(self, full: Sequence[Record], states: Sequence[Record]) -> None:
        """Write a batch, wholly or not at all as far as committed readers see.

        Raises Unavailable (it may or may not have been written: enter anew and look at `last`);
        StateForbids when another relay has taken over; TooLarge, with nothing written; NotAllowed.
        """
        _check_sizes(full)
        _check_sizes(states)
        producer = self._producer
        if producer is None:
            raise Unavailable("the relay is closed")
        with _kafka_errors("writing to the relay's topics"):
            try:
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await self._transaction(producer, full, states)
            except BaseException:
                await _abort(producer)
                raise

    async def _transaction(
        self, producer: AIOKafkaProducer, full: Sequence[Record], states: Sequence[Record]
    ) -> None:
        await producer.begin_transaction()
        # aiokafka 0.14 keeps a transaction's error in a future that nobody asks.
        producer._txn_manager.wait_for_transaction_end().add_done_callback(_seen)
        sent: list[asyncio.Future[Any]] = []
        for topic, batch in ((self._state_topic, states), (self._full_topic, full)):
            for record in batch:
                one = await producer.send(
                    topic,
                    value=record.value,
                    key=record.key,
                    headers=list(record.headers),
                    partition=0,
                )
                one.add_done_callback(_seen)
                sent.append(one)
        await asyncio.gather(*sent)
        await producer.commit_transaction()

    def _check_states(
        self,
        full: ConsumerRecord[bytes, bytes] | None,
        states: ConsumerRecord[bytes, bytes] | None,
    ) -> None:
        """Each transaction ends both topics with records of one event."""
        written = 0 if full is None else position_of(full)
        told = 0 if states is None else position_of(states)
        if written != told:
            raise StateForbids(
                f"the topic {self._full_topic} ends at position {written}, {self._state_topic} at "
                f"{told}: name the two topics that were written together, or delete both to begin "
                "anew"
            )

    async def _last(
        self, consumer: AIOKafkaConsumer[bytes, bytes], topic: str
    ) -> ConsumerRecord[bytes, bytes] | None:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        begin = (await consumer.beginning_offsets([partition]))[partition]
        end = (await consumer.end_offsets([partition]))[partition]
        look_back = LOOK_BACK_FIRST
        while end > begin:
            start = max(begin, end - look_back)
            consumer.seek(partition, start)
            last: ConsumerRecord[bytes, bytes] | None = None
            while await consumer.position(partition) < end:
                for record in (await consumer.getmany(partition, timeout_ms=500)).get(
                    partition, ()
                ):
                    last = record
            if last is not None:
                return last
            if start == begin:  # markers of given-up transactions only
                break
            look_back *= 10
        if begin > 0:
            raise StateForbids(
                f"the topic {topic} was emptied, so nothing tells where the relay was: "
                "delete both topics to begin anew, or choose other ones"
            )
        return None


async def stop(producer: AIOKafkaProducer) -> None:
    """Stop a transactional producer, also one that was fenced, in thrice STOP_TIMEOUT_S at most.

    aiokafka 0.14 keeps the error of a fenced producer in a future that nobody asks; it would be
    reported as forgotten when it is collected.
    """
    await stop_producer(producer, wait_s=STOP_TIMEOUT_S)
    transactions = producer._txn_manager
    if transactions is not None and transactions.is_fatal_error():
        transactions.wait_for_transaction_end().exception()


async def _abort(producer: AIOKafkaProducer) -> None:
    """Give the transaction up, so that readers need not wait for its end, if Kafka hears it within
    ABORT_TIMEOUT_S; else the next relay does, or Kafka after TRANSACTION_TIMEOUT_S. One that was
    broken off before it began has nothing to give up, and aiokafka's state machine refuses that."""
    transactions = producer._txn_manager
    if transactions.is_in_transaction() and not transactions.is_fatal_error():
        with suppress(TimeoutError, KafkaError, OSError):
            async with asyncio.timeout(ABORT_TIMEOUT_S):
                await producer.abort_transaction()


def position_of(record: ConsumerRecord[bytes, bytes]) -> int:
    """The log's position in a record of ours. Raises StateForbids for one of others."""
    given = dict(record.headers).get(POSITION_HEADER, b"")
    if not given.isdigit():
        raise StateForbids(
            f"the last record of {record.topic} is not the relay's (no header {POSITION_HEADER}): "
            "choose a topic that nobody else writes to"
        )
    return int(given)


def _check_sizes(batch: Sequence[Record]) -> None:
    for record in batch:
        if record.size_bytes > topics.CONTENT_BYTES_MAX:
            position = dict(record.headers)[POSITION_HEADER].decode()
            raise TooLarge(
                f"the record of {record.key.decode()} at position {position} has "
                f"{record.size_bytes} bytes, one may have {topics.CONTENT_BYTES_MAX}: the relay "
                "cannot go on"
            )


def _seen(sent: asyncio.Future[Any]) -> None:
    """The transaction tells what went wrong: its records need not each say it again."""
    if not sent.cancelled():
        sent.exception()


@contextmanager
def _kafka_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except EventflowsError:
        raise
    except ProducerFenced as error:
        raise StateForbids("another relay writes to these topics now: this one stops") from error
    except _NOT_ALLOWED as error:
        raise NotAllowed(f"{doing}: Kafka does not allow it: {type(error).__name__}") from error
    except _TOO_LARGE as error:
        raise TooLarge(
            f"{doing}: Kafka refuses a record of this size: set max.message.bytes of both topics "
            f"to {topics.RECORD_BYTES_MAX}"
        ) from error
    except InvalidTopicError as error:
        raise StateForbids(f"{doing}: Kafka refuses the name of a topic") from error
    except KafkaError as error:
        raise Unavailable(f"{doing}: {error or type(error).__name__}") from error
    except TimeoutError as error:
        raise Unavailable(f"{doing}: no answer in time") from error
    except OSError as error:
        raise Unavailable(f"{doing}: {error.strerror or type(error).__name__}") from error
