"""A wall clock that a test may move, in another process: a file says by how much it is wrong."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from pathlib import Path

from router.adapters.system_clock import SystemClock

CLOCK_FILE = "CHAOS_CLOCK_FILE"
"""The variable that names the file. It has seconds; no file: the clock is right."""
LOOK_EVERY_S = 0.1
_NONE = timedelta(0)


class JumpingClock(SystemClock):
    """Its wall clock is wrong by what the file says; its monotonic one is right."""

    _wrong_by = _NONE
    _looked_s = -LOOK_EVERY_S

    def now(self) -> datetime:
        if time.monotonic() - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = time.monotonic()
            file = Path(os.environ[CLOCK_FILE])
            self._wrong_by = timedelta(seconds=float(file.read_text())) if file.exists() else _NONE
        return super().now() + self._wrong_by
