"""What waits in a source, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """Records that wait, and the age of the oldest of them; both 0 if none does.

    The age is counted from the record's own time, once it was received; before, and so always at
    least, from the moment at which we saw first that something waits there.
    """

    records: int
    oldest_age_s: float
