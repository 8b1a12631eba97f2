"""The letters of one task that are in work at the same time, those of a lane one after the other.

    free ──begin──▶ busy ──▶ held up (its letter waits for another attempt)
      ▲              │          │ a letter of it comes
      │              ▼          ▼
      └─────────── ended    passed over until the next walk over the letters

Whoever begins a letter waits for its lane while that is busy, so a key of many letters holds up
others at most for a run of each. One that is held up may be for hours: its letters are passed over,
all of them for their order's sake, and come with the next walk, which begins when such a lane is
free. The price: each such walk asks for all open letters again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from router.application.letter_bytes import MIB, LetterBytes

AT_ONCE_MAX: Final = 16
BYTES_AT_ONCE_MAX: Final = 4 * 1024 * 1024
"""Of their values; one letter alone may have more."""
LANES_PASSED_MAX: Final = 1_000
"""Of one walk; with more the letter's lane is waited for."""
NO_MEMORY: Final = "waits for memory: the redrives of its worker hold {:.0f} MiB of letters"


@dataclass(eq=False, slots=True)
class _Lane:
    """One with a letter in work."""

    task: asyncio.Task[None]
    held_up: asyncio.Event


class LettersAtWork:
    """For one beginner at a time. A letter's work raises only what is a mistake of ours.

    `held` are the bytes of all tasks of the worker; `says` is told what the task waits for.
    """

    def __init__(self, held: LetterBytes, *, says: Callable[[str, str], None]) -> None:
        self._held = held
        self._says = says
        self._lanes: dict[object, _Lane] = {}
        self._passed: set[object] = set()
        """Lanes of which this walk begins nothing more."""
        self._left: set[object] = set()
        """Those of which a letter was passed over."""
        self._running: dict[asyncio.Task[None], int] = {}
        """With the bytes of its value; those that failed stay here until somebody is told."""

    def begin_walk(self) -> None:
        """The letters come from the first one on again, those in work among them."""
        self._passed, self._left = set(self._lanes), set()

    async def is_free(self, lane: object) -> bool:
        """Wait while the lane is busy. False: its letters are passed over until the next walk."""
        if lane not in self._passed and not await self._ended_in(lane):
            self._passed.add(lane)
        if lane in self._passed:
            self._left.add(lane)
        return lane not in self._passed

    async def begin(
        self,
        work: Callable[[Callable[[], None]], Coroutine[Any, Any, None]],
        *,
        lane: object,
        size_bytes: int,
    ) -> None:
        """Start a letter of a free lane once there is room for one more, and their values and its
        own are within the limits. Raises what a letter's work raised.

        `work` is given what it calls when its letter is held up. Harmless twice.
        """
        assert lane not in self._lanes, "ask whether it is free"
        while not self._has_room(size_bytes):
            await asyncio.wait(self._working(), return_when=asyncio.FIRST_COMPLETED)
        while not self._held.have_room(size_bytes, is_first=not self._working()):
            self._says("waiting", NO_MEMORY.format(self._held.held / MIB))
            await self._held.freed()
        self._raise_failures()
        held_up = asyncio.Event()
        task = asyncio.create_task(work(held_up.set))
        self._running[task] = size_bytes
        self._lanes[lane] = _Lane(task, held_up)
        self._held.take(size_bytes)
        task.add_done_callback(lambda done: self._ended(done, lane, size_bytes))

    async def walked(self) -> bool:
        """Wait until none is in work. True: none was passed over; False, perhaps with some in work:
        another walk finds letters of lanes that are free again."""
        while (working := self._working()) and self._left <= self._lanes.keys():
            await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        self._raise_failures()
        return not self._left

    async def all_ended(self) -> None:
        """Wait for those in work. Raises what a letter's work raised."""
        if self._running:
            await asyncio.wait(self._running)
        self._raise_failures()

    async def drain(self, bound_s: float) -> None:
        """Wait for those in work, at most so long, and break off the others. Never raises for what
        they raise."""
        if self._running:
            await asyncio.wait(self._running, timeout=bound_s)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def _ended_in(self, lane: object) -> bool:
        """Wait until the lane has nothing in work: True; or is held up, and may be passed over:
        False."""
        ahead = self._lanes.get(lane)
        if ahead is None:
            return True
        if len(self._passed) >= LANES_PASSED_MAX:
            await asyncio.wait({ahead.task})
            return True
        held_up = asyncio.create_task(ahead.held_up.wait())
        try:
            await asyncio.wait({ahead.task, held_up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            held_up.cancel()
        return ahead.task.done()

    def _working(self) -> list[asyncio.Task[None]]:
        return [one for one in self._running if not one.done()]

    def _has_room(self, size_bytes: int) -> bool:
        working = self._working()
        held_bytes = sum(self._running[one] for one in working)
        fits = held_bytes + size_bytes <= BYTES_AT_ONCE_MAX
        return not working or (len(working) < AT_ONCE_MAX and fits)

    def _ended(self, task: asyncio.Task[None], lane: object, size_bytes: int) -> None:
        del self._lanes[lane]
        self._held.give_back(size_bytes)
        if task.cancelled() or task.exception() is None:
            self._running.pop(task, None)

    def _raise_failures(self) -> None:
        for task in self._running:
            if task.done():
                task.result()
