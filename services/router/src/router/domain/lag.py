"""What waits in a source, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """Records that wait, and the age of the oldest of them; both 0 if none does.

    The age is counted from the record's own time, once it was received; before, and so always at
    least, from the moment at which we saw first that something waits there. `receivable` are those
    that the source could hand out now: beyond what it handed out, of partitions that nobody paused.

    `passed` names, of partitions that were asked for from behind all that was handed out, how far
    the source has gone on since over offsets that hold no record for us: markers of transactions,
    records of aborted ones, what compaction took away. The next record comes from there or later.
    """

    records: int
    oldest_age_s: float
    receivable: int
    passed: Mapping[int, int] = field(default_factory=dict)
