"""What aiokafka says while Kafka is away: each sentence now and then, not ten times a second.

It is heard at all since the reason of a failed start (a wrong password, say) stands nowhere else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from servicekit.logs import redact

AGAIN_AFTER_S: Final = 60.0
KNOWN_MAX: Final = 100

_LIBRARY: Final = logging.getLogger("aiokafka")


@contextmanager
def client_logs(
    say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Within, `say` hears aiokafka's warnings, each at most once in AGAIN_AFTER_S."""
    handler = _Sayings(say, clock)
    propagated = _LIBRARY.propagate
    _LIBRARY.addHandler(handler)
    _LIBRARY.propagate = False
    try:
        yield
    finally:
        _LIBRARY.propagate = propagated
        _LIBRARY.removeHandler(handler)


class _Sayings(logging.Handler):
    def __init__(self, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        super().__init__(logging.WARNING)
        self._say = say
        self._clock = clock
        self._said: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        sentence, now_s = redact(record.getMessage()), self._clock()
        if now_s - self._said.get(sentence, -AGAIN_AFTER_S) < AGAIN_AFTER_S:
            return
        if len(self._said) == KNOWN_MAX:
            self._said.clear()
        self._said[sentence] = now_s
        self._say(sentence)
