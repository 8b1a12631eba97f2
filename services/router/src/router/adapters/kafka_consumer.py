"""What a flow's consumer is told: its group, and how long everything may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zlib import crc32

from aiokafka import AIOKafkaConsumer

from router.adapters.kafka_clients import client_settings
from router.application.limits import DRAIN_S, REBALANCE_ROOM_S
from router.domain.flow_spec import FlowSpec
from router.domain.kafka_connection import KafkaConnection

METADATA_AGE_MAX_S: Final = 60.0
RETRY_PAUSE_S: Final = 0.3
"""Before a broker is asked again; up to twice that, so that the flows of a worker do not ask all at
once when their broker comes back. A source that was given up is opened anew with backoff."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTimes:
    """Times of the group protocol, seconds. `drain_s` is the bound of the pump that reads."""

    session_timeout_s: float = 10.0
    heartbeat_s: float = 1.0
    max_poll_interval_s: float = 300.0
    drain_s: float = DRAIN_S

    @property
    def rebalance_s(self) -> float:
        """Within it a member joins again, or its group goes on without it."""
        return self.drain_s + REBALANCE_ROOM_S


def make_consumer(
    spec: FlowSpec, connection: KafkaConnection, times: GroupTimes, *, retry_pause_s: float
) -> AIOKafkaConsumer:
    """A member of the flow's group that was not started yet. Raises InvalidInput."""
    return AIOKafkaConsumer(
        **client_settings(connection, client_id=f"eventflows-{spec.flow_id}-{spec.instance}")
        | {"request_timeout_ms": _ms(times.rebalance_s + REBALANCE_ROOM_S)},
        group_id=spec.source.group_id,
        enable_auto_commit=False,
        auto_offset_reset="none",
        session_timeout_ms=_ms(times.session_timeout_s),
        heartbeat_interval_ms=_ms(times.heartbeat_s),
        max_poll_interval_ms=_ms(times.max_poll_interval_s),
        rebalance_timeout_ms=_ms(times.rebalance_s),
        retry_backoff_ms=_ms(retry_pause_s),
        metadata_max_age_ms=_ms(METADATA_AGE_MAX_S),
        isolation_level="read_committed" if spec.source.read_committed else "read_uncommitted",
    )


def retry_pause_s(spec: FlowSpec) -> float:
    """How long this flow pauses before it asks a broker again."""
    return RETRY_PAUSE_S * (1 + crc32(spec.flow_id.encode()) % 100 / 100)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
