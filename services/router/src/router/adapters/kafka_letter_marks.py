"""Marks on dead letters as records of our internal topic."""

from __future__ import annotations

from kernel.errors import EventflowsError, Unavailable

from router.adapters.internal_topics import DEAD_LETTERS_TOPIC
from router.adapters.kafka_producers import KafkaProducers
from router.domain.dead_letter_mark import headers_of_mark, headers_of_own_mark, key_of_own_mark
from router.domain.dead_letter_record import Letter, LetterId, LetterState
from router.domain.delivery import Headers
from router.domain.kafka_connection import KafkaConnection


class KafkaLetterMarks:
    """`LetterMarks`: each goes behind its letter, into the same partition; that of a letter which
    stands elsewhere goes by its key."""

    def __init__(self, internal: KafkaConnection, *, producers: KafkaProducers) -> None:
        self._producer = producers.use(internal)

    async def write(self, letter_id: LetterId, state: LetterState, *, task_id: str) -> None:
        headers = headers_of_mark(letter_id, state, task_id=task_id)
        await self._send(str(letter_id).encode(), headers, partition=letter_id.partition)

    async def write_own(
        self, letter: Letter, state: LetterState, *, topic: str, task_id: str
    ) -> None:
        headers = headers_of_own_mark(letter, state, topic=topic, task_id=task_id)
        await self._send(key_of_own_mark(letter, topic=topic), headers, partition=None)

    async def _send(self, key: bytes, headers: Headers, *, partition: int | None) -> None:
        try:
            await self._producer.send(
                DEAD_LETTERS_TOPIC,
                key=key,
                value=None,
                headers=[(name, value or b"") for name, value in headers],
                partition=partition,
            )
        except Unavailable:
            raise
        except EventflowsError as error:  # of our own cluster: a person has to look
            raise Unavailable(error.message) from error
