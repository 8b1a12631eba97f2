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

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from router.domain.outcome import OutcomeKind

LAG_UNKNOWN = -1
LAG_S_UNKNOWN = -1.0


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
    `lag_s` is the age of the oldest record that waits, 0 without one, -1: not known yet;
    `oldest_unsettled_s` how long ago the oldest delivery that is not settled was received, 0
    without one. `settled_per_s` and `error_ratio` (failed attempts among all) are of the last
    minute. Totals count since this pump was made; `repeats_total` counts deliveries that an earlier
    owner may have delivered, `expired_total` completions that their topic's retention took before
    this pump had read them; `attempts` are those that ended, by outcome. `partitions` is how many
    are assigned to this pump. `healthy` is False while records wait and nothing was done for too
    long, and of a flow that failed; what `domain.watchdog` judges that by are `progress_total`
    (attempts that ended, at the target, the dead letters and the source, and settles),
    `polls_empty_total` (times that the source was found empty), `queued` (the source waits for its
    turn to be opened), `resting` (deliveries that wait for their next attempt), `ready` (those that
    could begin one now), `received_total` (records that the source handed out) and `receivable`
    (those that it could hand out when that was last measured; 0 as well while nobody knows).
    """

    flow_id: str
    instance: int = 0
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
    lag_s: float = LAG_S_UNKNOWN
    oldest_unsettled_s: float = 0.0
    settled_per_s: float = 0.0
    error_ratio: float = 0.0
    repeats_total: int = 0
    expired_total: int = 0
    halted_keys: int = 0
    bytes_held: int = 0
    healthy: bool = True
    source_restarts_total: int = 0
    queued: bool = False
    resting: int = 0
    ready: int = 0
    received_total: int = 0
    receivable: int = 0
    progress_total: int = 0
    polls_empty_total: int = 0
    commits_total: int = 0
    commit_metadata_ignored_total: int = 0
    commit_metadata_cut_total: int = 0
    attempts: Mapping[OutcomeKind, int] = field(default_factory=dict)
