"""The slots of a flow: coroutines that carry one delivery after the other.

A slot that finds nothing to do parks and is woken again, so that a delivery costs no task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Generic, TypeVar

from router.application.budget import Share

PARKED_MAX: Final = 16
"""Slots of a flow that are kept for later; each takes about 2 kB."""
TURN_ITEMS_MAX: Final = 32
"""Items that a slot carries at most before everything else in the worker has its turn: a target
that answers without waiting would keep the whole event loop."""

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
T = TypeVar("T")
V = TypeVar("V")


class _Slot:
    """Is it counted as busy? False while it is parked, and once it has ended."""

    __slots__ = ("is_busy",)

    def __init__(self) -> None:
        self.is_busy = True


class Slots(Generic[T, V]):
    """At most `slots_max` slots. Each asks `take` for an item, awaits `carry` of it, tells `done`.

    `take` returns None when there is nothing to do; `done` is not told of what was cancelled.
    """

    def __init__(
        self,
        slots_max: int,
        *,
        take: Callable[[], T | None],
        carry: Callable[[T], Coroutine[Any, Any, V]],
        done: Callable[[T, V], None],
        share: Share,
        spawn: Spawn,
    ) -> None:
        self._slots_max = slots_max
        self._take = take
        self._carry = carry
        self._done = done
        self._share = share
        self._spawn = spawn
        self._tasks: set[asyncio.Task[None]] = set()
        self._parked: list[tuple[_Slot, asyncio.Future[None]]] = []
        self._closed = False
        self.busy = 0
        """Slots that are at work or about to be."""

    def start(self, count: int) -> None:
        """Set at most so many more slots to work."""
        for _ in range(min(count, self._slots_max - self.busy)):
            if self._closed or not self._share.take_call():
                return
            self.busy += 1
            if self._parked:
                slot, wake = self._parked.pop()
                slot.is_busy = True
                wake.set_result(None)
            else:
                slot = _Slot()
                task = self._spawn(self._work(slot))
                self._tasks.add(task)
                task.add_done_callback(partial(self._ended, slot))

    def close(self) -> None:
        """Let each slot end as soon as it has carried what it carries now."""
        self._closed = True
        parked, self._parked = self._parked, []
        for _, wake in parked:
            wake.cancel()

    def cancel(self) -> None:
        """End all slots at once, whatever they carry."""
        self.close()
        for task in self._tasks:
            task.cancel()

    async def until_ended(self, timer: asyncio.Future[None] | None = None) -> None:
        """After `close` or `cancel`: return when all slots have ended, or `timer` is done."""
        while self._tasks and not (timer is not None and timer.done()):
            waited_for: set[asyncio.Future[None]] = {*self._tasks}
            if timer is not None:
                waited_for.add(timer)
            await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)

    async def _work(self, slot: _Slot) -> None:
        take, carry, done = self._take, self._carry, self._done
        share, waiting = self._share, self._share.waiting
        turn = 0
        is_fresh = True
        """Has carried nothing since it was set to work: it gives way only afterwards, else slots
        would hand on a call for ever."""
        try:
            while not self._closed:
                item = None if waiting and not is_fresh and share.gives_way else take()
                if item is not None:
                    done(item, await carry(item))
                    is_fresh = False
                    turn += 1
                    if turn >= TURN_ITEMS_MAX:
                        turn = 0
                        await asyncio.sleep(0)
                elif len(self._parked) < PARKED_MAX:
                    wake = asyncio.get_running_loop().create_future()
                    self._parked.append((slot, wake))
                    self._leave(slot)
                    await wake
                    is_fresh = True
                else:
                    return
        except Exception:
            # It ends the whole session, which takes no more tasks from here on.
            self._closed = True
            raise
        finally:
            self._leave(slot)

    def _leave(self, slot: _Slot) -> None:
        """In the same step in which it found nothing to do, not in a callback: whatever becomes
        ready a turn later must find the slot free."""
        if not slot.is_busy:
            return
        slot.is_busy = False
        self.busy -= 1
        gives_way = self._share.gives_way
        self._share.free_call()
        if gives_way and not self._closed:
            self._share.wake()  # there is more to do: wait in turn

    def _ended(self, slot: _Slot, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._leave(slot)  # of one that was cancelled before its start
