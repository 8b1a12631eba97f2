"""A producer ends in time, whatever of it does not."""

from __future__ import annotations

import asyncio
import gc
import time
from types import SimpleNamespace
from typing import Any

import pytest
from servicekit.kafka_goodbye import close_admin, stop_producer

WAIT_S = 0.1
SLACK_S = 1.0


class Stuck:
    """A producer of which the named parts do not end."""

    def __init__(self, *parts: str, cancels: int = 1) -> None:
        self._parts = parts
        self._cancels = cancels
        self.left: BaseException | None = None
        task = None if "start" in parts else asyncio.ensure_future(self._send())
        self._sender = SimpleNamespace(sender_task=task)
        self.waiting = asyncio.get_running_loop().create_future()
        """Of a batch that was not sent, as aiokafka's: nobody waits for it."""
        batch = SimpleNamespace(_drain_waiter=self.waiting)
        self._message_accumulator = SimpleNamespace(
            fail_all=self._fail_all, _batches={"place": [batch]}, _pending_batches=set()
        )
        self.client = SimpleNamespace(close=self._close)

    @property
    def sender(self) -> Any:
        return self._sender.sender_task

    async def stop(self) -> None:
        await self._end_of("stop")
        if "error" in self._parts:
            raise ConnectionError("the broker is gone")

    async def _close(self) -> None:
        await self._end_of("close")

    async def _end_of(self, part: str) -> None:
        if part in self._parts:
            await asyncio.Event().wait()

    async def _send(self) -> None:
        """Waits for each of its requests in turn, also when it is cancelled."""
        for _ in range(self._cancels):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    def _fail_all(self, error: BaseException) -> None:
        self.left = error
        self.waiting.set_exception(error)


async def test_one_that_ends_by_itself_is_left_alone() -> None:
    producer = Stuck()
    assert await stop_producer(producer, wait_s=WAIT_S)
    assert producer.left is None
    producer.sender.cancel()


async def test_what_nobody_waits_for_is_no_error_in_the_log() -> None:
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        await stop_producer(Stuck("stop"), wait_s=WAIT_S)
        gc.collect()
    finally:
        loop.set_exception_handler(before)
    assert told == []


@pytest.mark.parametrize("parts", [("stop",), ("stop", "close"), ("error",), ("error", "close")])
async def test_what_does_not_end_is_ended_and_writes_that_are_left_fail(
    parts: tuple[str, ...],
) -> None:
    producer = Stuck(*parts, cancels=3)
    began_s = time.monotonic()
    assert not await stop_producer(producer, wait_s=WAIT_S)
    assert time.monotonic() - began_s < 3 * WAIT_S + SLACK_S
    assert producer.sender.done()
    assert isinstance(producer.left, OSError)


async def test_one_that_was_never_started_is_ended() -> None:
    assert not await stop_producer(Stuck("start", "stop"), wait_s=WAIT_S)


async def test_a_sender_that_no_cancel_ends_is_waited_for_only_so_long() -> None:
    producer = Stuck("stop", cancels=60)
    began_s = time.monotonic()
    assert not await stop_producer(producer, wait_s=WAIT_S)
    assert time.monotonic() - began_s < 3 * WAIT_S + SLACK_S
    for _ in range(60):
        if producer.sender.cancel():
            await asyncio.sleep(0)


async def test_whoever_is_cancelled_meanwhile_leaves_nothing_behind() -> None:
    producer = Stuck("stop")
    stopping = asyncio.ensure_future(stop_producer(producer, wait_s=WAIT_S))
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait({stopping})
    assert stopping.cancelled()
    assert producer.sender.done()


@pytest.mark.parametrize("part", ["close", "error"])
async def test_an_admin_client_is_closed_in_time_whatever_comes_of_it(part: str) -> None:
    began_s = time.monotonic()
    await close_admin(StuckAdmin(part), wait_s=WAIT_S)
    assert time.monotonic() - began_s < WAIT_S + SLACK_S


class StuckAdmin:
    """An admin client that does not close, or fails to."""

    def __init__(self, part: str) -> None:
        self._part = part

    async def close(self) -> None:
        if self._part == "close":
            await asyncio.Event().wait()
        raise ConnectionError("the broker is gone")
