"""Publishes completions to a topic: acknowledged by all in-sync replicas, or not done."""

from __future__ import annotations

from kernel.errors import EventflowsError, InvalidInput, TimedOut, TooLarge

from router.adapters.kafka_producers import KafkaProducers
from router.domain.delivery import Run
from router.domain.flow_spec import FlowSpec, KafkaTargetSpec
from router.domain.kafka_connection import KafkaConnection
from router.domain.outcome import REASON_TOO_LARGE, SUCCEEDED, Outcome, OutcomeKind, failed
from router.domain.published_record import published_record


class KafkaTarget:
    """Target of a publisher flow."""

    def __init__(
        self, spec: FlowSpec, *, connection: KafkaConnection, producers: KafkaProducers
    ) -> None:
        assert isinstance(spec.target, KafkaTargetSpec), (
            "a publisher flow has a topic as its target"
        )
        self._topic = spec.target.topic
        self._connection = connection
        self._producers = producers
        self._producer = producers.use(connection)
        self._closed = False

    async def invoke(self, run: Run) -> Outcome:
        """Write key and value of the completion as they are."""
        key, value, headers = published_record(run)
        try:
            await self._producer.send(self._topic, key=key, value=value, headers=headers)
        except TooLarge as error:
            return failed(
                OutcomeKind.REFUSED,
                error.message,
                error_type="RecordTooLarge",
                reason=REASON_TOO_LARGE,
            )
        except InvalidInput as error:
            return failed(OutcomeKind.REFUSED, error.message, error_type="InvalidRecord")
        except TimedOut as error:
            return failed(OutcomeKind.NO_ANSWER, error.message, error_type="TimedOut")
        except EventflowsError as error:
            return failed(OutcomeKind.UNREACHABLE, error.message, error_type=type(error).__name__)
        return SUCCEEDED

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._producers.release(self._connection)
