"""How far a task on dead letters is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

LEFT_UNKNOWN: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProgress:
    """As the worker knows that carries it out. `state`: waiting (`reason` says why), working,
    cancelled or finished. `left` may be LEFT_UNKNOWN."""

    task_id: str
    state: str
    reason: str = ""
    succeeded: int = 0
    failed: int = 0
    left: int = LEFT_UNKNOWN
    worker: str = ""

    @property
    def settled(self) -> int:
        """Letters whose mark tells what became of them."""
        return self.succeeded + self.failed

    def one_less(self, *, succeeded: int = 0, failed: int = 0) -> TaskProgress:
        """A letter is not to be worked on any more; neither of the two: it is gone."""
        left = self.left if self.left == LEFT_UNKNOWN else max(0, self.left - 1)
        return replace(
            self,
            state="working",
            reason="",
            succeeded=self.succeeded + succeeded,
            failed=self.failed + failed,
            left=left,
        )
