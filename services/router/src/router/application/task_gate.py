"""May the next attempt of a dead letter task begin? The check before each, as for live deliveries.

closed (the flow is paused, blocked, disabled, or not ours) ◀──▶ open ──stop──▶ stopped
   └────────────────── the flow is deleted ──▶ gone ◀──────────────┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from router.application.until_stop import rest
from router.domain.flow_spec import FlowSpec
from router.ports import Clock

LOOK_S: Final = 0.2
"""Between two looks at a flow that may not run: not all that can change it gives a signal."""


class FlowGone(Exception):
    """There is nothing through which letters could be sent."""


class Stopped(Exception):
    """This worker begins nothing more for the task; another one goes on with it."""


class TaskGate:
    """Of one task. `ready` as in `TaskTools`; `says` is told what the task does, and why not."""

    def __init__(
        self,
        ready: Callable[[], FlowSpec | str | None],
        *,
        says: Callable[[str, str], None],
        clock: Clock,
    ) -> None:
        self._ready = ready
        self._says = says
        self._clock = clock
        self._stopping = asyncio.Event()
        self._trouble = ""

    def stop(self) -> None:
        """Let nothing more begin: whoever waits here is told so at once. Harmless twice."""
        self._stopping.set()

    @property
    def is_stopped(self) -> bool:
        """Was it stopped?"""
        return self._stopping.is_set()

    async def stopped(self) -> None:
        """Return once it was stopped."""
        await self._stopping.wait()

    def is_open(self) -> bool:
        """May an attempt begin now?"""
        return not self._stopping.is_set() and isinstance(self._ready(), FlowSpec)

    def spec_now(self) -> FlowSpec | None:
        """The spec by which an attempt may begin now; None: none may. Raises FlowGone, Stopped."""
        found = self._found()
        return found if isinstance(found, FlowSpec) else None

    async def until_open(self) -> FlowSpec:
        """As `spec_now`, once an attempt may begin."""
        while True:
            found = self._found()
            if isinstance(found, FlowSpec):
                self._says("waiting" if self._trouble else "working", self._trouble)
                return found
            self._says("waiting", found)
            await self.rest(LOOK_S)

    async def rest(self, delay_s: float) -> None:
        """Wait so long. Raises Stopped, at once when it is stopped meanwhile."""
        await rest(delay_s, until=self._stopping, clock=self._clock)
        if self._stopping.is_set():
            raise Stopped

    def waits_for(self, trouble: str) -> None:
        """The target, or what takes its letters, is in this trouble; empty: all goes well. Attempts
        find out when that is over."""
        self._trouble = trouble
        self._says("waiting" if trouble else "working", trouble)

    def _found(self) -> FlowSpec | str:
        """As `TaskTools.ready`. Raises FlowGone, Stopped."""
        if self._stopping.is_set():
            raise Stopped
        found = self._ready()
        if found is None:
            raise FlowGone
        return found
