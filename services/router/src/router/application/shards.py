"""Which shards this worker owns, and for how long it may believe so.

The group protocol of `router.control` gives partitions to workers; partition number = shard number.
A rebalance of the eager protocol first says "you lost all" and 20 to 30 ms later what we have
(findings of Faust, section 8), so a revocation alone changes nothing here: flows that stay run on.
What ends ownership is the next assignment, or time: a worker that no broker has confirmed within
`CONFIRMATION_AGE_MAX_S` owns nothing, because the others may have been given its shards.
The price: for up to `CONFIRMATION_SLACK_S` an evicted worker that cannot hear it still delivers;
the sources fence that themselves, and a delivery may be repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

CONTROL_TOPIC = "router.control"
SHARDS = 64
"""Partitions of `router.control`. Never change it on a living cluster: every flow would move."""

SESSION_TIMEOUT_S = 10.0
"""After this long without a heartbeat the broker gives our shards to others."""
CONFIRMATION_SLACK_S = 5.0
"""Confirmations come every 2 s or so; a broker that is slow for once should not stop the flows."""
CONFIRMATION_AGE_MAX_S = SESSION_TIMEOUT_S + CONFIRMATION_SLACK_S


def shard_of(flow_id: str, *, instance: int = 0) -> int:
    """The shard of one instance of a flow: the same on every worker and in every release."""
    digest = hashlib.blake2b(f"{flow_id}/{instance}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % SHARDS


class ShardOwnership:
    """The shards of this worker, as far as the group has told and time allows.

    `monotonic_s` gives seconds that go on while the process is frozen or the machine is suspended.
    `on_change` is called after each change that an assignment or a release brings; time passes
    without a call, so whoever acts on `owned` looks again every second or so.
    """

    def __init__(self, *, monotonic_s: Callable[[], float]) -> None:
        self.monotonic_s = monotonic_s
        self._assigned: frozenset[int] = frozenset()
        self._confirmed_s: float | None = None
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change of what is owned, from inside the call that made it."""
        self._listeners.append(listener)

    def assign(self, shards: Iterable[int]) -> None:
        """The group says that exactly these are ours. Counts as a confirmation.

        Raises ValueError for a number that is no shard: the topic has the wrong partitions.
        """
        assigned = frozenset(shards)
        if wrong := [shard for shard in assigned if not 0 <= shard < SHARDS]:
            raise ValueError(f"shards are 0 to {SHARDS - 1}, the group assigned {sorted(wrong)}")
        self._confirmed_s = self.monotonic_s()
        self._assigned = assigned
        self._tell()

    def confirm(self, *, at_s: float) -> None:
        """A broker accepted us as a member; `at_s` is when we asked, by `monotonic_s`, and
        not when it answered."""
        was_lost = self.lost
        if self._confirmed_s is not None:
            self._confirmed_s = max(self._confirmed_s, at_s)
        if was_lost and not self.lost:
            self._tell()

    def release(self) -> None:
        """We leave the group: nothing is ours from here on."""
        self._assigned = frozenset()
        self._confirmed_s = None
        self._tell()

    @property
    def joined(self) -> bool:
        """Did the group ever give us an assignment, and is it still good?"""
        return self._confirmed_s is not None and not self.lost

    @property
    def lost(self) -> bool:
        """Was a membership that we had not confirmed for too long?"""
        return (
            self._confirmed_s is not None
            and self.monotonic_s() - self._confirmed_s > CONFIRMATION_AGE_MAX_S
        )

    @property
    def assigned(self) -> frozenset[int]:
        """What the group gave us last, also while nobody confirms that it still holds."""
        return self._assigned

    @property
    def owned(self) -> frozenset[int]:
        """Our shards at this moment; empty when membership is lost."""
        return frozenset() if self.lost else self._assigned

    def owns(self, flow_id: str, *, instance: int = 0) -> bool:
        """May this worker deliver for the flow's instance at this moment?"""
        return shard_of(flow_id, instance=instance) in self.owned

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
