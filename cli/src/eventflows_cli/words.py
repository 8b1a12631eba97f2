"""Words of options; a test compares them with `proto/`."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

FAILURES: Final = (
    "algorithm_error", "refused", "overloaded", "timed_out", "crashed", "unreachable", "no_answer",
)  # fmt: skip


class FlowState(StrEnum):
    """What a flow does; the first three the registry tells, the others the router; `unknown`: it
    is enabled, and the router does not answer."""

    DISABLED = "disabled"
    ENABLED = "enabled"
    PAUSED = "paused"
    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"
    BLOCKED = "blocked"
    HALTED = "halted"
    UNKNOWN = "unknown"


class LetterState(StrEnum):
    """The life of a dead letter."""

    OPEN = "open"
    REDRIVEN = "redriven"
    PURGED = "purged"
