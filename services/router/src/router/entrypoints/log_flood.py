"""Holds back what a library repeats.

aiokafka says the same sixty times a second for as long as a broker is away (measured). The price:
of equal lines within the interval only the first is seen, with no count.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

INTERVAL_S = 10.0
TEMPLATES_MAX = 256
FLOODING_LOGGERS = ("aiokafka", "faust", "mode", "opentelemetry")


class RepeatFilter(logging.Filter):
    """Lets a line of a flooding library through once in `INTERVAL_S` for each logger and template.

    Equal is what has the same format string; the values in it may differ.
    """

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic_s = monotonic_s
        self._seen: OrderedDict[tuple[str, int, str], float] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Called by logging, on any thread; under a race a line more may come through."""
        if record.name.split(".", 1)[0] not in FLOODING_LOGGERS:
            return True
        key = (record.name, record.levelno, str(record.msg))
        now_s = self._monotonic_s()
        last_s = self._seen.get(key)
        if last_s is not None and now_s - last_s < INTERVAL_S:
            return False
        self._seen[key] = now_s
        if len(self._seen) > TEMPLATES_MAX:
            self._seen.popitem(last=False)
        return True


def hold_back_repeats() -> None:
    """Put the filter on every handler of the root logger. Call it after `configure_logs`."""
    flood = RepeatFilter()
    for handler in logging.getLogger().handlers:
        handler.addFilter(flood)
