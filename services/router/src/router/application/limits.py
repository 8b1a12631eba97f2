"""The bounds of one pump."""

from __future__ import annotations

from dataclasses import dataclass

BYTES_IN_FLIGHT_MAX = 64 * 1024 * 1024
SPAN_RECORDS_MAX = 10_000
RECEIVE_RECORDS_MAX = 500
RECEIVE_WAIT_S = 0.5
COMMIT_INTERVAL_S = 0.25
DRAIN_S = 5.0
LAG_INTERVAL_S = 5.0
RETRY_AGE_MAX_S = 6 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PumpLimits:
    """What a pump may hold and how long it may wait.

    `bytes_in_flight_max` and `span_records_max` (records between the low-water mark and the newest
    one received, a partition) pause partitions when reached; a single record may exceed the first.
    `drain_s` bounds the wait for running calls when partitions are taken away. `retry_age_max_s` is
    how long after its first attempt a delivery is still tried again after a platform's error.
    """

    bytes_in_flight_max: int = BYTES_IN_FLIGHT_MAX
    span_records_max: int = SPAN_RECORDS_MAX
    receive_records_max: int = RECEIVE_RECORDS_MAX
    receive_wait_s: float = RECEIVE_WAIT_S
    commit_interval_s: float = COMMIT_INTERVAL_S
    drain_s: float = DRAIN_S
    lag_interval_s: float = LAG_INTERVAL_S
    retry_age_max_s: float = RETRY_AGE_MAX_S
