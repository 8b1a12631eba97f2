"""What one attempt came to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ERROR_TEXT_MAX = 4_096
"""Characters of an error message that are kept."""


class OutcomeKind(Enum):
    """The classes that the table of `retry` speaks about; the values are words of the glossary."""

    SUCCEEDED = "succeeded"
    ALGORITHM_ERROR = "algorithm_error"
    OVERLOADED = "overloaded"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Outcome of one attempt.

    `reason` narrows a refusal down for dead letters (`record_too_large`, `loop`…); empty: the
    kind's own word. `retry_after_s` is what an overloaded target asked for; None: it did not.
    """

    kind: OutcomeKind
    error_type: str = ""
    error: str = ""
    reason: str = ""
    retry_after_s: float | None = None

    @property
    def word(self) -> str:
        """The reason that a dead letter names."""
        return self.reason or self.kind.value

    @property
    def timed_out(self) -> bool:
        return self.kind is OutcomeKind.TIMED_OUT


SUCCEEDED = Outcome(kind=OutcomeKind.SUCCEEDED)


def failed(
    kind: OutcomeKind,
    error: str,
    *,
    error_type: str = "",
    reason: str = "",
    retry_after_s: float | None = None,
) -> Outcome:
    """An outcome with its error cut to a bounded length."""
    return Outcome(
        kind=kind,
        error_type=error_type[:ERROR_TEXT_MAX],
        error=error[:ERROR_TEXT_MAX],
        reason=reason,
        retry_after_s=retry_after_s,
    )
