"""What aiokafka knows about our membership of a consumer group, and does not tell.

Reaches into private parts of aiokafka 0.14 (pinned) for five reasons that were each checked against
its source and a real broker:

* a heartbeat that succeeded is the proof that we are still a member, and nobody can ask for it;
* a commit after an eviction goes out without generation and member, and an empty group accepts it;
* an error of the group parks the coordinator until somebody asks for it; only a poll asks, and
  nobody polls without partitions: a missing right to the group would hang in silence for ever;
* a request that finds no connection waits for one, and a later one that finds it goes first;
* who takes records by himself counts as one who does not poll, and is made to leave.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.errors import GroupCoordinatorNotAvailableError, IllegalGenerationError
from aiokafka.structs import OffsetAndMetadata
from kernel.errors import Unavailable

from router.adapters.kafka_errors import kafka_errors
from router.ports import Clock

Member = tuple[int, str]
"""A generation of the group, and who we are in it."""


class KafkaMembership:
    """Watches the coordinator of one consumer that was started and has not subscribed yet."""

    def __init__(self, consumer: AIOKafkaConsumer, clock: Clock, *, retry_pause_s: float) -> None:
        self._coordinator: Any = consumer._coordinator
        self._subscription: Any = consumer._subscription
        self._clock = clock
        self.retry_pause_s = retry_pause_s
        """Before something that may pass by itself is tried again."""
        self.member: Member | None = None
        """As whom we were given the partitions."""
        self._confirmed_s: float | None = None
        self._send_heartbeat = self._coordinator._do_heartbeat
        self._coordinator._do_heartbeat = self._heartbeat

    def check(self) -> None:
        """Raise what would be missed in silence: an error of the group, or a task that has ended.

        Asking lets aiokafka try again; it goes on by itself if the cause has gone. Raises
        NotAllowed, StaleAssignment, Unavailable.
        """
        coordinator = self._coordinator
        if coordinator._coordination_task.done():
            raise Unavailable("the consumer's membership has ended; it is made anew")
        if coordinator._pending_exception is None and coordinator._error_consumed_fut is None:
            return
        with kafka_errors(f"cannot be a member of the group {coordinator.group_id}"):
            coordinator.check_errors()

    def poll_begins(self) -> None:
        """Until it ends, and for `max_poll_interval` after, we count as somebody who polls."""
        self._subscription._fetch_count += 1

    def poll_ends(self) -> None:
        """Of each that began, however it ends."""
        self._subscription._fetch_count -= 1
        self._subscription._last_fetch_ended = time.monotonic()

    async def begin(self) -> None:
        """Take the membership of this moment as ours, and have the broker confirm it."""
        self.member = self._current()
        self._confirmed_s = None
        await self._heartbeat()

    def is_confirmed(self, *, within_s: float) -> bool:
        """Still the same member, by the answer to a request of the last `within_s` seconds."""
        return (
            self._confirmed_s is not None
            and self.member == self._current()
            and self._clock.monotonic_s() - self._confirmed_s < within_s
        )

    async def committed(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """The commits of those partitions that have one, in one request."""
        found: dict[
            TopicPartition, OffsetAndMetadata
        ] = await self._coordinator.fetch_committed_offsets(list(partitions))
        return found

    async def coordinator_ready(self) -> None:
        """Wait until we are connected to whoever coordinates the group.

        A request that is made in the same step is sent in that step. Raises aiokafka's errors.
        """
        coordinator = self._coordinator
        while True:
            await coordinator.ensure_coordinator_known()
            node_id = coordinator.coordinator_id
            if node_id is None:
                raise GroupCoordinatorNotAvailableError  # we are closing
            connection = await coordinator._client._get_conn(
                node_id, group=ConnectionGroup.COORDINATION
            )
            if node_id != coordinator.coordinator_id:
                continue
            if connection is None:
                coordinator.coordinator_dead()
                await asyncio.sleep(self.retry_pause_s)
            elif connection.connected():
                return

    async def commit(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], *, member: Member | None
    ) -> None:
        """Commit as that member, by a request that is sent at once after `coordinator_ready`.

        aiokafka's own `commit` sends none before the answer to the last one came, and each in a
        task of its own: some turns of a busy event loop. Requests of a connection are answered in
        their order, so several may be under way. Raises aiokafka's errors, IllegalGenerationError
        if we are not the member any more that was given the partitions.
        """
        began_s = self._clock.monotonic_s()
        if member != self.member or member != self._current():
            raise IllegalGenerationError(self._coordinator.group_id)
        await self._coordinator._do_commit_offsets(None, offsets)
        self._confirm(member, began_s)

    async def _heartbeat(self) -> bool:
        began_s, member = self._clock.monotonic_s(), self._current()
        confirmed = bool(await self._send_heartbeat())
        if confirmed:
            self._confirm(member, began_s)
        return confirmed

    def _confirm(self, member: Member | None, began_s: float) -> None:
        """A request of that member went well, and maybe before it one that began later."""
        if member == self.member and (self._confirmed_s is None or began_s > self._confirmed_s):
            self._confirmed_s = began_s

    def _current(self) -> Member:
        return self._coordinator.generation, self._coordinator.member_id
