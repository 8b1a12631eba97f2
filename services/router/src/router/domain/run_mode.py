"""How a flow that is enabled shall run: its owner's pause and resume, as the pump sees them."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class RunMode(Enum):
    """RUNNING: deliver. PAUSED: start no call; those that run end and are settled. DRAINED: receive
    nothing more, finish what was received already, and stand still then.

    A paused or drained pump stays open: a member of its group that polls and measures its lag.
    """

    RUNNING = "running"
    PAUSED = "paused"
    DRAINED = "drained"


class Steering(NamedTuple):
    """What its owner's pauses and resumes come to: a flow can be steered without a new pump.

    `resumed_position` is the place in the log of the newest resume: a greater one than before lets
    a flow try again what its rules halted. `reason` is why it was paused, for people.
    """

    mode: RunMode = RunMode.RUNNING
    resumed_position: int = 0
    reason: str = ""
