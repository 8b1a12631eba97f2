"""Whether a flow starts calls and receives records, by its owner's word and by its own rules.

It belongs to the pump, so it outlives assignments: a new one begins as the last one stood.
"""

from __future__ import annotations

from router.domain.run_mode import RunMode


class FlowSwitch:
    """Asked before each call, so the answers are plain attributes."""

    __slots__ = ("halted", "may_start", "mode", "receives", "resumed_position")

    def __init__(self, mode: RunMode, resumed_position: int) -> None:
        self.mode = mode
        self.resumed_position = resumed_position
        self.halted = ""
        """Why a rule halted the whole flow; empty: none did."""
        self._derive()

    def steer(self, mode: RunMode, resumed_position: int) -> bool:
        """The owner's word; True: it lets what is halted try again."""
        self.mode = mode
        resumes = resumed_position > self.resumed_position
        if resumes:
            self.resumed_position = resumed_position
            self.halted = ""
        self._derive()
        return resumes

    def halt(self, reason: str) -> None:
        """Start nothing until a resume."""
        self.halted = self.halted or reason
        self._derive()

    def _derive(self) -> None:
        self.may_start = self.mode is not RunMode.PAUSED and not self.halted
        self.receives = self.mode is RunMode.RUNNING and not self.halted
