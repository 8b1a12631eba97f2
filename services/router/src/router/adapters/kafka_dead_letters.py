"""Dead letters as records: in the flow's own topic, or in our internal one."""

from __future__ import annotations

from typing import Final

from kernel.errors import InvalidInput, TooLarge

from router.adapters.internal_topics import DEAD_LETTER_ROOM_BYTES, MESSAGE_BYTES_MAX
from router.adapters.kafka_clients import RECORD_BYTES_MAX
from router.adapters.kafka_producers import KafkaProducers, SharedProducer
from router.domain.dead_letter import DeadLetter
from router.domain.flow_spec import FlowSpec
from router.domain.kafka_connection import KafkaConnection

INTERNAL_TOPIC: Final = "dead-letters"
MIB: Final = 1024 * 1024


class KafkaDeadLetters:
    """Dead letters of one flow; what its own topic never takes goes to the internal one."""

    def __init__(
        self,
        spec: FlowSpec,
        *,
        own: KafkaConnection | None,
        internal: KafkaConnection,
        producers: KafkaProducers,
    ) -> None:
        assert (own is None) == (spec.dead_letter_topic is None)
        self._own_topic = spec.dead_letter_topic or ""
        self._used = (internal,) if own is None else (internal, own)
        self._producers = producers
        self._internal = producers.use(internal)
        self._own = None if own is None else producers.use(own)
        self._closed = False

    async def write(self, letter: DeadLetter) -> None:
        """Return once the letter is in all in-sync replicas."""
        if self._own is not None:
            try:
                await _send(self._own, self._own_topic, letter)
            except (TooLarge, InvalidInput):
                pass  # the internal topic takes larger records, and such without a key
            else:
                return
        try:
            await _send(self._internal, INTERNAL_TOPIC, letter)
        except TooLarge as error:
            raise self._too_large(letter) from error

    def _too_large(self, letter: DeadLetter) -> TooLarge:
        """What a person can do. A letter that tries again would be refused for ever."""
        delivery = letter.delivery
        parts = (delivery.key, delivery.value, *(value for _, value in letter.headers))
        size_mib = sum(len(part or b"") for part in parts) / MIB
        own, ours_mib = self._own_topic, (MESSAGE_BYTES_MAX + DEAD_LETTER_ROOM_BYTES) // MIB
        where = f"{own} and ours take" if own else "our topic takes"
        remedy = (
            f"raise max.message.bytes of {own}"
            if own
            else "give the flow a dead letter topic of its own with a larger max.message.bytes"
        )
        return TooLarge(
            f"its dead letter has {size_mib:.1f} MiB, more than {where} (ours {ours_mib} MiB):"
            f" {remedy} (up to {RECORD_BYTES_MAX // MIB} MiB) and resume the flow, or disable it"
            " and set its group's offset behind the record with Kafka's own tool"
        )

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            for connection in self._used:
                await self._producers.release(connection)


async def _send(producer: SharedProducer, topic: str, letter: DeadLetter) -> None:
    delivery = letter.delivery
    await producer.send(topic, key=delivery.key, value=delivery.value, headers=letter.headers)
