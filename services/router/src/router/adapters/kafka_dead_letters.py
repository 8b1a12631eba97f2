"""Dead letters as records: in the flow's own topic, or in our internal one."""

from __future__ import annotations

from typing import Final

from kernel.errors import TooLarge, Unavailable

from router.adapters.kafka_producers import KafkaProducers
from router.domain.dead_letter import DeadLetter
from router.domain.flow_spec import FlowSpec
from router.domain.kafka_connection import KafkaConnection

INTERNAL_TOPIC: Final = "dead-letters"


class KafkaDeadLetters:
    """Dead letters of one flow; what is too large for its own topic goes to the internal one."""

    def __init__(
        self,
        spec: FlowSpec,
        *,
        own: KafkaConnection | None,
        internal: KafkaConnection,
        producers: KafkaProducers,
    ) -> None:
        assert (own is None) == (spec.dead_letter_topic is None)
        self._own = own
        self._own_topic = spec.dead_letter_topic or ""
        self._internal = internal
        self._producers = producers
        self._closed = False
        for connection in self._used():
            producers.use(connection)

    async def write(self, letter: DeadLetter) -> None:
        """Return once the letter is in all in-sync replicas."""
        if self._own is not None:
            try:
                await self._send(self._own, self._own_topic, letter)
            except TooLarge:
                pass  # the internal topic takes larger records
            else:
                return
        try:
            await self._send(self._internal, INTERNAL_TOPIC, letter)
        except TooLarge as error:
            # Never dropped: the flow says that it backs off, and why, until a limit is raised.
            raise Unavailable(error.message) from error

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            for connection in self._used():
                await self._producers.release(connection)

    def _used(self) -> tuple[KafkaConnection, ...]:
        return (self._internal,) if self._own is None else (self._internal, self._own)

    async def _send(self, connection: KafkaConnection, topic: str, letter: DeadLetter) -> None:
        await self._producers.send(
            connection,
            topic,
            key=letter.delivery.key,
            value=letter.delivery.value,
            headers=letter.headers,
        )
