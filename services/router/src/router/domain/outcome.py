"""What one attempt came to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ERROR_TEXT_MAX = 4_096
"""Characters of an error message that are kept."""
REASON_TOO_LARGE = "record_too_large"
"""The reason of a refusal: the other side takes no record of this size."""

ENDPOINT_ERROR = "EndpointError"
"""The error type with which a runner tells an endpoint that failed itself from one that is away."""


class OutcomeKind(Enum):
    """The classes that the table of `retry` speaks about; the values are words of the glossary."""

    SUCCEEDED = "succeeded"
    ALGORITHM_ERROR = "algorithm_error"
    OVERLOADED = "overloaded"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    UNREACHABLE = "unreachable"
    NO_ANSWER = "no_answer"
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


SUCCEEDED = Outcome(kind=OutcomeKind.SUCCEEDED)


def failed(
    kind: OutcomeKind,
    error: str,
    *,
    error_type: str = "",
    reason: str = "",
    retry_after_s: float | None = None,
) -> Outcome:
    """An outcome whose texts are bounded and can be written as UTF-8.

    An answer in JSON can carry half a character (a lone surrogate); no status, header or log line
    can, and whoever wrote one would fail far from here.
    """
    return Outcome(
        kind=kind,
        error_type=_clean(error_type),
        error=_clean(error),
        reason=reason,
        retry_after_s=retry_after_s,
    )


def _clean(text: str) -> str:
    return text[:ERROR_TEXT_MAX].encode("utf-8", "replace").decode("utf-8")
