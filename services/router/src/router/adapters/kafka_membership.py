"""What aiokafka knows about our membership of a consumer group, and does not tell.

Reaches into private parts of aiokafka 0.14 (pinned), in this file alone, for four reasons that were
each checked against its source and a real broker:

* a heartbeat that succeeded is the proof that we are still a member, and nobody can ask for it;
* a commit after an eviction goes out without generation and member, and an empty group accepts it;
* `fetch_context` is not undone when a poll is cancelled or fails, so that a consumer that stops
  polling would never again be told apart from one that polls;
* `stop` waits for a coordinator that may never answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalGenerationError

from router.ports import Clock


class KafkaMembership:
    """Watches the coordinator of one consumer that was started and has not subscribed yet."""

    def __init__(self, consumer: AIOKafkaConsumer, clock: Clock) -> None:
        self._coordinator: Any = consumer._coordinator
        self._clock = clock
        self._identity: tuple[int, str] | None = None
        self._confirmed_s: float | None = None
        self._send_heartbeat = self._coordinator._do_heartbeat
        self._send_commit = self._coordinator._do_commit_offsets
        self._coordinator._do_heartbeat = self._heartbeat
        self._coordinator._do_commit_offsets = self._commit
        _mend_fetch_context(consumer._subscription)

    async def begin(self) -> None:
        """Take the membership of this moment as ours, and have the broker confirm it."""
        self._identity = self._current()
        self._confirmed_s = None
        await self._heartbeat()

    def is_confirmed(self, *, within_s: float) -> bool:
        """Still the same member, by the answer to a request of the last `within_s` seconds."""
        return (
            self._confirmed_s is not None
            and self._identity == self._current()
            and self._clock.monotonic_s() - self._confirmed_s < within_s
        )

    async def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The committed offsets of those partitions that have one, in one request."""
        found = await self._coordinator.fetch_committed_offsets(list(partitions))
        return {partition: at.offset for partition, at in found.items()}

    async def _heartbeat(self) -> bool:
        began_s, identity = self._clock.monotonic_s(), self._current()
        confirmed = bool(await self._send_heartbeat())
        if confirmed and identity == self._identity:
            self._confirmed_s = began_s
        return confirmed

    async def _commit(self, assignment: object, offsets: object) -> None:
        began_s, identity = self._clock.monotonic_s(), self._current()
        if identity != self._identity:
            raise IllegalGenerationError(self._coordinator.group_id)
        await self._send_commit(assignment, offsets)
        if identity == self._identity:
            self._confirmed_s = began_s

    def _current(self) -> tuple[int, str]:
        return self._coordinator.generation, self._coordinator.member_id


async def tear_down(consumer: AIOKafkaConsumer) -> None:
    """End the tasks and sockets of a consumer whose `stop` was broken off; tell nobody."""
    coordinator, fetcher = consumer._coordinator, consumer._fetcher
    tasks = [
        task
        for task in (
            getattr(coordinator, "_coordination_task", None),
            getattr(coordinator, "_heartbeat_task", None),
            getattr(coordinator, "_commit_refresh_task", None),
        )
        if task is not None
    ]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if fetcher is not None:
        await fetcher.close()
    await consumer._client.close()


def _mend_fetch_context(subscription: Any) -> None:
    @contextlib.contextmanager
    def fetch_context() -> Iterator[None]:
        subscription._fetch_count += 1
        try:
            yield
        finally:
            subscription._fetch_count -= 1
            if subscription._fetch_count == 0:
                subscription._last_fetch_ended = time.monotonic()

    subscription.fetch_context = fetch_context
