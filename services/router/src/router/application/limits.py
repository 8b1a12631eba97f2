"""The bounds of one pump, and of the end of its assignments and of itself.

Each outer bound is the sum of what may happen within it, so that whoever changes one changes those
around it.
"""

from __future__ import annotations

from dataclasses import dataclass

BYTES_HELD_MAX = 64 * 1024 * 1024
RECORDS_HELD_MAX = 10_000
SPAN_RECORDS_MAX = 10_000
RECEIVE_RECORDS_MAX = 500
RECEIVE_WAIT_S = 0.5
COMMIT_INTERVAL_S = 0.25
COMMIT_RECORDS_MAX = 100
"""At full speed an interval alone would let a kill repeat thousands of deliveries."""
LOOK_INTERVAL_S = 0.25
DRAIN_S = 5.0
LAST_SETTLE_ROOM_S = 3.0
"""What the settles of an assignment that ends have on top of the time that its calls had."""
REVOKED_FLUSH_S = 1.0
"""For writing down positions that are somebody else's soon; what is not is written later."""
JOIN_ROOM_S = 1.0
REBALANCE_ROOM_S = LAST_SETTLE_ROOM_S + REVOKED_FLUSH_S + JOIN_ROOM_S
"""What a member has, on top of the drain bound, to join again (promise 3)."""
CLOSING_FLUSH_S = 3.0
"""The same for a source that is closed: maybe its worker ends, and nobody writes later."""
GOODBYE_S = 5.0
"""For the answer to a member that leaves its group; as long again for what is left of it to end."""
SOURCE_CLOSE_MAX_S = CLOSING_FLUSH_S + 2 * GOODBYE_S
"""What closing a source takes when nobody answers."""
STOP_ROOM_S = LAST_SETTLE_ROOM_S + SOURCE_CLOSE_MAX_S
"""What a pump's stop may take on top of its grace time."""
LAG_INTERVAL_S = 5.0
LAG_LOOK_S = 1.0
"""A lag that was worked off since it was measured is shown no longer than so."""
UNCONFIRMED_MAX_S = 20.0
UNASSIGNED_MAX_S = 45.0
"""Room for a join that the broker lets time out, a second one, and finding out the positions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PumpLimits:
    """What a pump may hold and how long it may wait.

    `bytes_held_max` and `records_held_max` (received and not done) pause each partition that holds
    its fair part of them, so what is held is at most twice that; `span_records_max` (records from a
    partition's low-water mark to the newest one received) pauses that partition. Each may be
    exceeded by what one `receive` brings.
    What has changed is settled every `commit_interval_s`, and as soon as `commit_records_max` more
    deliveries are done; a settle does not wait for the end of the one before (`SETTLES_MAX`).
    `look_interval_s` is how often what gives no signal is looked at: fence, confirmation, state.
    `drain_s` bounds the wait for running calls when partitions are taken away.
    `unconfirmed_max_s` is how long a source may go unconfirmed, or with partitions that the broker
    calls somebody else's, and `unassigned_max_s` how long without any word about its partitions,
    before it is opened anew.
    """

    bytes_held_max: int = BYTES_HELD_MAX
    records_held_max: int = RECORDS_HELD_MAX
    span_records_max: int = SPAN_RECORDS_MAX
    receive_records_max: int = RECEIVE_RECORDS_MAX
    receive_wait_s: float = RECEIVE_WAIT_S
    commit_interval_s: float = COMMIT_INTERVAL_S
    commit_records_max: int = COMMIT_RECORDS_MAX
    look_interval_s: float = LOOK_INTERVAL_S
    drain_s: float = DRAIN_S
    lag_interval_s: float = LAG_INTERVAL_S
    unconfirmed_max_s: float = UNCONFIRMED_MAX_S
    unassigned_max_s: float = UNASSIGNED_MAX_S
