"""Whether a flow starts calls and receives records, by its owner's word and by its own rules.

It belongs to the pump, so it outlives assignments: a new one begins as the last one stood. What
halted the whole flow is told to `tell`, since other pumps have to know of it.
"""

from __future__ import annotations

from collections.abc import Callable

from router.application.flow_halts import FlowHalt
from router.domain.run_mode import RunMode


class FlowSwitch:
    """Asked before each call, so the answers are plain attributes."""

    __slots__ = ("_tell", "halted", "may_start", "mode", "receives", "resumed_position")

    def __init__(
        self,
        mode: RunMode,
        resumed_position: int,
        *,
        halt: FlowHalt | None = None,
        tell: Callable[[FlowHalt], None] = lambda halt: None,
    ) -> None:
        """`halt` is what halted the flow under an earlier pump of this worker."""
        self._tell = tell
        self.mode = mode
        self.resumed_position = resumed_position
        self.halted = ""
        """Why a rule halted the whole flow; empty: none did."""
        if halt is not None:
            self.halted, self.resumed_position = halt.reason, halt.resumed_position
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

    def halt(self, reason: str, *, noted: str) -> None:
        """Start nothing until a resume. `noted` is what the log may keep of the reason."""
        if self.halted:
            return
        self.halted = reason
        self._derive()
        self._tell(FlowHalt(reason=reason, noted=noted, resumed_position=self.resumed_position))

    def _derive(self) -> None:
        self.may_start = self.mode is not RunMode.PAUSED and not self.halted
        self.receives = self.mode is RunMode.RUNNING and not self.halted
