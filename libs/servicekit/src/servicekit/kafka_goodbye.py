"""Clients of Kafka end in time, although nobody answers their goodbye.

`stop` of aiokafka 0.14 waits for a coordinator that may never answer, and for ever for a batch that
an idempotent producer cannot deliver; under TLS it waits up to 30 s for the goodbye of a broker
that is frozen, or cut off. Reaches into private parts for it.

Whoever is cancelled meanwhile waits for the end all the same: of a consumer that was stopped by
half its tasks live on, as a member of the group that holds partitions and reads nothing, and the
sender of a producer goes on trying.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Any, Final, Protocol

from servicekit.cleanup import to_its_end

COORDINATOR_TASKS: Final = (
    "_coordination_task",
    "_heartbeat_task",
    "_commit_refresh_task",
    "_reset_committed_task",
)
CANCELS_MAX: Final = 20
"""A sender that is cancelled waits for each of its requests in turn; the next cancel ends the one
that it waits for."""

_log = logging.getLogger(__name__)


class Consumer(Protocol):
    """What is needed of an AIOKafkaConsumer; the services without Kafka do not install it."""

    _coordinator: Any
    _fetcher: Any
    _client: Any

    stop: Callable[[], Awaitable[None]]


class Producer(Protocol):
    """What is needed of an AIOKafkaProducer."""

    _sender: Any
    _message_accumulator: Any
    client: Any

    def stop(self) -> Awaitable[None]:
        """May take for ever."""
        ...


class Admin(Protocol):
    """What is needed of an AIOKafkaAdminClient."""

    def close(self) -> Awaitable[None]:
        """May take as long as TLS waits."""
        ...


async def stop_consumer(consumer: Consumer, *, wait_s: float) -> bool:
    """Stop a consumer; True: it left its group. Takes little more than twice `wait_s`, ever."""
    return await to_its_end(_stop_consumer(consumer, wait_s=wait_s))


async def stop_producer(producer: Producer, *, wait_s: float) -> bool:
    """Stop a producer; True: nothing that it was given is left. Takes little more than three times
    `wait_s`, ever. Writes that are left fail with OSError."""
    return await to_its_end(_stop_producer(producer, wait_s=wait_s))


async def close_admin(admin: Admin, *, wait_s: float) -> None:
    """Close an admin client. Takes `wait_s` at most, and raises nothing."""
    await to_its_end(_close_admin(admin, wait_s=wait_s))


async def _stop_consumer(consumer: Consumer, *, wait_s: float) -> bool:
    stopping = await _begun(consumer, wait_s=wait_s)
    if _went_well(stopping):
        return True
    await _tear_down_consumer(consumer, stopping, wait_s=wait_s)
    return False


async def _stop_producer(producer: Producer, *, wait_s: float) -> bool:
    stopping = await _begun(producer, wait_s=wait_s)
    if _went_well(stopping):
        return True
    _log.info("a producer did not end cleanly")
    await _tear_down_producer(producer, stopping, wait_s=wait_s)
    return False


async def _begun(client: Consumer | Producer, *, wait_s: float) -> asyncio.Future[None]:
    """The stop, after so long at most. In a task of its own: it lets the cancellation of one of its
    own tasks escape, and whoever awaits it could not tell that from being cancelled."""
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait({stopping}, timeout=wait_s)
    return stopping


async def _close_admin(admin: Admin, *, wait_s: float) -> None:
    closing: asyncio.Future[None] = asyncio.ensure_future(admin.close())
    ended, _ = await asyncio.wait({closing}, timeout=wait_s)
    closing.cancel()
    _see(ended)


def _went_well(task: asyncio.Future[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _tear_down_consumer(
    consumer: Consumer, stopping: asyncio.Future[None], *, wait_s: float
) -> None:
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
    _see(ended)


async def _tear_down_producer(
    producer: Producer, stopping: asyncio.Future[None], *, wait_s: float
) -> None:
    """End the sockets, then the sender, which goes on trying without them, then what is left."""
    closing = asyncio.ensure_future(producer.client.close())
    await asyncio.wait({closing}, timeout=wait_s)
    sender = producer._sender.sender_task
    going_on = {task for task in (closing, stopping, sender) if task is not None}
    for _ in range(CANCELS_MAX):
        for task in going_on:
            task.cancel()
        ended, going_on = await asyncio.wait(going_on, timeout=wait_s / CANCELS_MAX)
        _see(ended)
        if not going_on:
            break
    _fail_what_is_left(producer._message_accumulator)


def _fail_what_is_left(accumulator: Any) -> None:
    """Each batch also has a waiter of its own that hears of it, and is nobody's any more."""
    left = [*chain.from_iterable(accumulator._batches.values()), *accumulator._pending_batches]
    accumulator.fail_all(ConnectionError("the producer was ended"))
    _see({batch._drain_waiter for batch in left})


def _see(ended: set[asyncio.Future[None]]) -> None:
    """The client is thrown away, with whatever ailed it."""
    for task in ended:
        if not task.cancelled():
            task.exception()
