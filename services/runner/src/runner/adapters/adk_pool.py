"""Warm processes of one version: handed out one request at a time, started when callers wait."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from kernel.errors import Overloaded, Unavailable

from runner.adapters.adk_process import AdkProcess
from runner.domain.limits import OVERLOAD_RETRY_AFTER_S

WAITERS_MAX: Final = 1_000
LOAD_RETRY_S: Final = 30.0
"""A process whose load failed answers with that error this long, then a fresh one tries again."""

_log = logging.getLogger(__name__)


class AdkPool:
    """At most `processes_max` processes. `may_start` is asked before each further one, and
    `on_freed` is called when one is gone; its owner then calls `grow`."""

    def __init__(
        self,
        start: Callable[[], Awaitable[AdkProcess]],
        *,
        processes_max: int,
        may_start: Callable[[], bool],
        on_freed: Callable[[], None],
    ) -> None:
        self._start_process, self._max = start, processes_max
        self._may_start, self._on_freed = may_start, on_freed
        self._processes: set[AdkProcess] = set()
        self._idle: list[AdkProcess] = []  # the newest used is taken first, so the others can go
        self._waiters: deque[asyncio.Future[AdkProcess]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting = 0
        self._closed = False
        self.last_used_s = time.monotonic()

    @property
    def size(self) -> int:
        """Processes that run or are being started."""
        return len(self._processes) + self._starting

    @property
    def warm(self) -> bool:
        """Is any process up?"""
        return bool(self._processes)

    @property
    def unused(self) -> bool:
        """Has it neither processes nor callers nor work to end?"""
        return not self._processes and not self._waiters and not self._tasks

    async def acquire(self, *, wait_s: float) -> AdkProcess:
        """A usable process, for the caller alone until `release`. First come, first served.

        Raises Overloaded after `wait_s`, and what starting raised: NotLoaded.
        """
        self.last_used_s = time.monotonic()
        while self._idle:
            process = self._idle.pop()
            if self._is_good(process):
                return process
            self._discard(process)
        if len(self._waiters) >= WAITERS_MAX:
            raise _busy()
        waiter: asyncio.Future[AdkProcess] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.grow()
        try:
            async with asyncio.timeout(wait_s):
                return await waiter
        except TimeoutError:
            self._abandon(waiter)
            raise _busy() from None
        except BaseException:
            self._abandon(waiter)
            raise

    def release(self, process: AdkProcess) -> None:
        """Give it back, in whatever state it is."""
        self.last_used_s = time.monotonic()
        if self._closed or not self._is_good(process):
            self._discard(process)
        else:
            self._hand_over(process)

    def grow(self) -> None:
        """Start processes for callers that wait, as far as the limits allow."""
        while (
            not self._closed
            and self._starting < sum(not waiter.done() for waiter in self._waiters)
            and self.size < self._max
            and self._may_start()
        ):
            self._starting += 1
            self._spawn(self._start())

    def drop_idle(self, *, idle_s: float, keep: int) -> None:
        """Stop processes that had nothing to do for `idle_s`, but leave `keep` of the pool."""
        now_s = time.monotonic()
        for process in list(self._idle):
            if len(self._processes) <= keep:
                return
            if now_s - process.idle_since_s >= idle_s:
                self._idle.remove(process)
                self._discard(process)

    def give_one(self) -> bool:
        """Stop one idle process, if there is one: another version needs its place."""
        if not self._idle:
            return False
        self._discard(self._idle.pop(0))
        return True

    def retire_worn(self, *, cpu_s: float) -> None:
        """Processes that used more than `cpu_s` take no further request; idle ones go at once."""
        for process in list(self._processes):
            if process.cpu_s() > cpu_s:
                process.retire()
                if process in self._idle:
                    self._idle.remove(process)
                    self._discard(process)

    async def close(self) -> None:
        """Stop all processes, also those that run. Harmless twice."""
        self._closed = True
        while self._waiters:
            if not (waiter := self._waiters.popleft()).done():
                waiter.set_exception(Unavailable("This runner is stopping: try again."))
        for process in list(self._processes):
            self._discard(process)
        self._idle.clear()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _is_good(self, process: AdkProcess) -> bool:
        if process.load_error is not None:
            return process.usable and time.monotonic() - process.started_s < LOAD_RETRY_S
        return process.usable

    def _hand_over(self, process: AdkProcess) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(process)
                return
        self._idle.append(process)

    def _abandon(self, waiter: asyncio.Future[AdkProcess]) -> None:
        """The caller is gone; a process that reached it in the same instant goes to the next."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        if not waiter.cancel() and not waiter.cancelled() and waiter.exception() is None:
            self.release(waiter.result())

    async def _start(self) -> None:
        process: AdkProcess | None = None
        try:
            process = await self._start_process()
        except Exception as error:  # noqa: BLE001  told to the caller that waits for it
            self._fail_one(error)
        finally:
            self._starting -= 1
        if process is None:
            self._on_freed()
            return
        self._processes.add(process)
        if self._closed:
            self._discard(process)
        else:
            self._hand_over(process)

    def _fail_one(self, error: Exception) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)
                return
        _log.warning("an algorithm's process did not start", extra={"reason": str(error)})

    def _discard(self, process: AdkProcess) -> None:
        if process in self._processes:
            self._processes.remove(process)
            self._spawn(self._end(process))

    async def _end(self, process: AdkProcess) -> None:
        await process.stop()
        self._on_freed()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _busy() -> Overloaded:
    return Overloaded(
        "All processes of this algorithm version are busy: try again later.",
        retry_after_s=OVERLOAD_RETRY_AFTER_S,
    )
