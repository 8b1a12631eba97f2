"""One loop that delivers the records of one flow."""

from __future__ import annotations

from collections.abc import Callable

from router.application.limits import PumpLimits
from router.domain.flow_spec import FlowSpec
from router.domain.status import PumpStatus
from router.ports import Clock, DeadLetters, Random, Source, Target


class Pump:
    """Runs one flow until it is stopped.

    `fence` says whether this worker still owns the flow; while it is False nothing new is invoked.
    """

    def __init__(
        self,
        spec: FlowSpec,
        *,
        source: Source,
        target: Target,
        dead_letters: DeadLetters,
        clock: Clock,
        random: Random,
        limits: PumpLimits,
        fence: Callable[[], bool],
    ) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """Deliver until `stop`. Trouble with a broker is a state, not an exception."""
        raise NotImplementedError

    async def stop(self, *, grace_s: float) -> None:
        """Receive nothing more, drain within `grace_s`, commit, close. Harmless twice."""
        raise NotImplementedError

    def status(self) -> PumpStatus:
        """What the flow is doing now."""
        raise NotImplementedError
