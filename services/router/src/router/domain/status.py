"""What a flow is doing, as its owner sees it (promise 10).

    starting ──▶ running ◀──▶ backing_off(why) ◀──▶ halted(why)     draining ──▶ paused
        │           │               │                   │              ▲           │
        ├───────────┴───────┬───────┴───────────────────┴── pause ─────┘  resume ──┘
        ▼                   ▼
    failed(why)          draining ──▶ stopped

`failed`, `halted`, `paused` and `blocked` wait for a person; everything else heals by itself.
`halted`: a rule of the flow stopped a key or the whole flow; a resume lets it try again.
A *blocked* flow has no pump: of most the supervisor alone knows, and `blocked(why)` here is one
whose credentials the vault does not hold, which shows only when its pump is to be made.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

LAG_UNKNOWN = -1


class PumpState(Enum):
    """The states of the picture above; the values are the words that people read."""

    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    DRAINING = "draining"
    PAUSED = "paused"
    HALTED = "halted"
    STOPPED = "stopped"
    FAILED = "failed"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class PumpStatus:
    """A snapshot. Times are aware UTC.

    `reason` is a sentence for states that need one, else empty; it never holds a secret.
    `last_progress` is when a delivery was last finished or the source was last found empty; None:
    never yet. `lag_records` counts from the low-water mark to the newest record, -1: not known yet.
    Totals count since this pump was made. `partitions` is how many are assigned to this pump.
    """

    flow_id: str
    state: PumpState
    reason: str
    since: datetime
    last_progress: datetime | None
    lag_records: int
    in_flight: int
    settled_total: int
    dead_lettered_total: int
    retries_total: int
    partitions: int
