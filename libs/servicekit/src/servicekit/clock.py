"""The clock by which a process judges what it may still believe: leases, what a catalog heard, what
a window remembers. Others go on while we are stopped, so it does as well."""

from __future__ import annotations

import time
from typing import Final

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's CLOCK_MONOTONIC stands still while the machine is suspended, macOS's goes on."""


def monotonic_s() -> float:
    """Seconds that never go back, and go on while the process is stopped by a signal or the machine
    is suspended; only differences mean anything."""
    return time.clock_gettime(_CLOCK)
