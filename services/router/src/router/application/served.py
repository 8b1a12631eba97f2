"""Whether a target serves a flow, live or in a redrive: what tells a bad letter from an outage."""

from __future__ import annotations

import math


class Served:
    """What a target answered to one flow on this worker. For one event loop."""

    __slots__ = ("__weakref__", "newest_s")

    def __init__(self) -> None:
        self.newest_s = -math.inf
        """When the newest call began that had an answer, by the worker's clock."""

    def answered(self, began_s: float) -> None:
        """A call that began then had an answer."""
        if began_s > self.newest_s:
            self.newest_s = began_s
