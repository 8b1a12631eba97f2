"""How a flow that is enabled shall run: its owner's pause and resume, as the pump sees them."""

from __future__ import annotations

from enum import Enum


class RunMode(Enum):
    """RUNNING: deliver. PAUSED: start no call; those that run end and are settled. DRAINED: receive
    nothing more, finish what was received already, and stand still then.

    A paused or drained pump stays open: a member of its group that polls and measures its lag.
    """

    RUNNING = "running"
    PAUSED = "paused"
    DRAINED = "drained"
