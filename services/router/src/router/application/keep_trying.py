"""A step that is tried until it works: nothing that is away ends a dead letter task."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, ParamSpec, TypeVar

from kernel.backoff import delay_s
from kernel.errors import EventflowsError

from router.ports import Clock, Random

RETRY_FIRST_S: Final = 0.2
RETRY_LONGEST_S: Final = 10.0

_log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class KeepTrying:
    """Of one task. `says` is told that it waits, and why; `names` stand in each line of the log."""

    def __init__(
        self,
        *,
        says: Callable[[str, str], None],
        names: Mapping[str, str],
        clock: Clock,
        random: Random,
    ) -> None:
        self._says = says
        self._names = names
        self._clock = clock
        self._random = random

    async def __call__(
        self, step: Callable[P, Awaitable[T]], *given: P.args, **named: P.kwargs
    ) -> T:
        """What the step gives, however often it raises an error of ours before."""
        failures = 0
        while True:
            try:
                return await step(*given, **named)
            except EventflowsError as error:
                failures += 1
                self._says("waiting", error.message)
                _log.warning("a dead letter task waits: %s", error.message, extra=self._names)
                wait_s = delay_s(
                    failures,
                    first_s=RETRY_FIRST_S,
                    longest_s=RETRY_LONGEST_S,
                    random=lambda: self._random.uniform(0.0, 1.0),
                )
                await self._clock.sleep(wait_s)
