"""Marks on dead letters as records of our internal topic."""

from __future__ import annotations

from kernel.errors import EventflowsError, Unavailable

from router.adapters.internal_topics import DEAD_LETTERS_TOPIC
from router.adapters.kafka_producers import KafkaProducers
from router.domain.dead_letter_record import LetterId, LetterState, headers_of_mark
from router.domain.kafka_connection import KafkaConnection


class KafkaLetterMarks:
    """`LetterMarks`: each goes behind its letter, into the same partition."""

    def __init__(self, internal: KafkaConnection, *, producers: KafkaProducers) -> None:
        self._internal = internal
        self._producers = producers
        producers.use(internal)

    async def write(self, letter_id: LetterId, state: LetterState, *, task_id: str) -> None:
        try:
            await self._producers.send(
                self._internal,
                DEAD_LETTERS_TOPIC,
                key=str(letter_id).encode(),
                value=None,
                headers=headers_of_mark(letter_id, state, task_id=task_id),
                partition=letter_id.partition,
            )
        except Unavailable:
            raise
        except EventflowsError as error:  # of our own cluster: a person has to look
            raise Unavailable(error.message) from error
