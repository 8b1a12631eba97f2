"""Consumers of Kafka end in time, although nobody answers their goodbye.

`stop` of aiokafka 0.14 waits for a coordinator that may never answer; and under TLS it waits up to
30 s for the goodbye of a broker that is frozen, or cut off. Reaches into private parts for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from servicekit.cleanup import to_its_end

COORDINATOR_TASKS: Final = (
    "_coordination_task",
    "_heartbeat_task",
    "_commit_refresh_task",
    "_reset_committed_task",
)


class Consumer(Protocol):
    """What is needed of an AIOKafkaConsumer; the services without Kafka do not install it."""

    _coordinator: Any
    _fetcher: Any
    _client: Any

    stop: Callable[[], Awaitable[None]]


async def stop_consumer(consumer: Consumer, *, wait_s: float) -> bool:
    """Stop a consumer; True: it left its group. Takes little more than twice `wait_s`, ever.

    Whoever is cancelled meanwhile waits for that all the same: of a consumer that was stopped by
    half its tasks live on, as a member of the group that holds partitions and reads nothing.
    """
    return await to_its_end(_stop(consumer, wait_s=wait_s))


async def _stop(consumer: Consumer, *, wait_s: float) -> bool:
    """In a task of its own: `stop` lets the cancellation of one of its own tasks escape, and
    whoever awaits it could not tell that from being cancelled."""
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait({stopping}, timeout=wait_s)
    if stopping.done() and not stopping.cancelled() and stopping.exception() is None:
        return True
    stopping.cancel()
    await _tear_down(consumer, stopping, wait_s=wait_s)
    return False


async def _tear_down(consumer: Consumer, stopping: asyncio.Future[None], *, wait_s: float) -> None:
    """End tasks and sockets; tell nobody."""
    coordinator, fetcher = consumer._coordinator, consumer._fetcher
    tasks = {stopping}
    for owner, names in ((coordinator, COORDINATOR_TASKS), (fetcher, ("_fetch_task",))):
        tasks |= {task for name in names if (task := getattr(owner, name, None)) is not None}
    tasks |= set(getattr(fetcher, "_pending_tasks", ()))
    for task in tasks:
        task.cancel()
    tasks.add(asyncio.ensure_future(consumer._client.close()))
    ended, going_on = await asyncio.wait(tasks, timeout=wait_s)
    for task in going_on:
        task.cancel()
    for task in ended:
        if not task.cancelled():
            task.exception()  # seen: the consumer is thrown away, with whatever ailed it
