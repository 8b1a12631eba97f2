"""What all flows of a worker may hold together, shared fairly between those that want it.

Below the limits nobody notices. At them each flow keeps what it has up to its fair part (the limit
divided by the flows that hold or want something); what one has above that goes to those that wait,
in the order of their asking, as soon as a call of it ends. The price: a flow with long calls gives
back slowly, since no call is broken off for another flow's sake.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from router.domain.gate import Gate

CALLS_OPEN_MAX = 2_000
"""Calls of all flows together: each needs a connection, and so a file descriptor."""
WORKER_BYTES_HELD_MAX = 512 * 1024 * 1024


class WorkerBudget:
    """The limits of one worker. Every method is instant."""

    def __init__(
        self,
        *,
        calls_open_max: int = CALLS_OPEN_MAX,
        bytes_held_max: int = WORKER_BYTES_HELD_MAX,
    ) -> None:
        self.calls_open_max = calls_open_max
        self.bytes_held_max = bytes_held_max
        self.calls_open = 0
        self.bytes_held = 0
        self.waiting: deque[Share] = deque()
        """Those that wait for a call to end, the first one next."""
        self._callers: set[Share] = set()
        self._holders: set[Share] = set()
        self._bytes_gate = Gate(bytes_held_max)

    def share(self, wake: Callable[[], None]) -> Share:
        """The part of one more flow; `wake` is called when a call that it asked for is free."""
        return Share(self, wake)

    @property
    def fair_calls(self) -> int:
        """Calls that each of those that call or want to may keep."""
        return max(1, self.calls_open_max // max(1, len(self._callers)))

    def calls_changed(self, share: Share) -> None:
        """A share began or ceased to call or to wait."""
        if share.calls or share.is_waiting:
            self._callers.add(share)
        else:
            self._callers.discard(share)

    def serve(self) -> None:
        """Let those that wait take what is free."""
        while self.waiting and self.calls_open < self.calls_open_max:
            share = self.waiting.popleft()
            share.is_waiting = False
            self.calls_changed(share)
            share.wake()

    def bytes_changed(self, share: Share, by: int) -> None:
        """A share holds more or less than before."""
        self.bytes_held += by
        if share.bytes_held:
            self._holders.add(share)
        else:
            self._holders.discard(share)

    def is_over(self, share: Share) -> bool:
        """Is too much held in all, and by this share more than its fair part?"""
        is_shut = self._bytes_gate.is_shut(self.bytes_held)
        return is_shut and share.bytes_held * len(self._holders) >= self.bytes_held_max


class Share:
    """What one flow has of its worker's budget."""

    __slots__ = ("_budget", "bytes_held", "calls", "is_waiting", "waiting", "wake")

    def __init__(self, budget: WorkerBudget, wake: Callable[[], None]) -> None:
        self._budget = budget
        self.wake = wake
        self.waiting = budget.waiting
        """Those that wait for a call: nobody gives way while there is none."""
        self.calls = 0
        self.bytes_held = 0
        self.is_waiting = False

    def take_call(self) -> bool:
        """May one more call begin? If not, `wake` is called once it may."""
        budget = self._budget
        if budget.calls_open < budget.calls_open_max:
            budget.calls_open += 1
            self.calls += 1
            if self.calls == 1:
                budget.calls_changed(self)
            return True
        if not self.is_waiting:
            self.is_waiting = True
            budget.waiting.append(self)
            budget.calls_changed(self)
        return False

    def free_call(self) -> None:
        """A call that was taken is over."""
        budget = self._budget
        budget.calls_open -= 1
        self.calls -= 1
        if not self.calls:
            budget.calls_changed(self)
        if budget.waiting:
            budget.serve()

    def want_no_more(self) -> None:
        """Do not wait for a call any longer."""
        if self.is_waiting:
            self.is_waiting = False
            self.waiting.remove(self)
            self._budget.calls_changed(self)

    @property
    def gives_way(self) -> bool:
        """Shall a call that has ended be left to another flow, although there is more to do?"""
        others_wait = len(self.waiting) > self.is_waiting
        return others_wait and self.calls > self._budget.fair_calls

    def hold(self, bytes_held: int) -> None:
        """Say how much is held now."""
        by = bytes_held - self.bytes_held
        if by:
            self.bytes_held = bytes_held
            self._budget.bytes_changed(self, by)

    @property
    def is_over(self) -> bool:
        """Shall this flow receive nothing more for now, so that others can?"""
        return self._budget.is_over(self)
