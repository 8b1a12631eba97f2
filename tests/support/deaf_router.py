"""`python -m tests.support.deaf_router`: a worker that a fault of ours makes deaf to some topics.

Its sources keep their membership, measure their lag, are found empty, and hand out nothing: what
users of every peer complain of. The times of the watchdog are short, so that a test can wait.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from router.__main__ import SERVICE, serve
from router.adapters.kafka_source import KafkaSource
from router.domain import watchdog
from router.domain.delivery import Delivery
from servicekit.lifecycle import run_service

DEAF_PREFIX = "deaf-"
STALL_MAX_S = 2.0

_receive = KafkaSource.receive


async def _deaf(source: KafkaSource, *, wait_s: float, records_max: int) -> Sequence[Delivery]:
    if source._topic.startswith(DEAF_PREFIX):
        await asyncio.sleep(wait_s)
        return []
    return await _receive(source, wait_s=wait_s, records_max=records_max)


def main() -> int:
    """Run until it ends itself, or is stopped; its exit code."""
    setattr(KafkaSource, KafkaSource.receive.__name__, _deaf)
    watchdog.STALL_MAX_S = STALL_MAX_S  # type: ignore[misc]
    watchdog.WORKER_UPTIME_MIN_S = watchdog.WORKER_UPTIME_LONG_S = 0.0  # type: ignore[misc]
    return run_service(serve, service=SERVICE)


if __name__ == "__main__":
    sys.exit(main())
