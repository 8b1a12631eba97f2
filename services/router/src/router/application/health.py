"""Watches the flows of this worker: what is stuck is opened anew, and at last the worker ends.

Ending is what a process can do for what it cannot mend from inside: whoever runs it starts it
again, and meanwhile the other workers take its shards. The price is a pause of every flow that is
well, so it happens rarely (`domain.watchdog`), and which flows it was for is remembered: one that
is stuck again afterwards is no reason for the next restart until `HOPELESS_S` have passed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from router.application.flow_keeper import FlowKeeper
from router.control_ports import RestartMemory
from router.domain.places import Instance
from router.domain.watchdog import HOPELESS_S, Verdict, Watchdog, is_impaired, worth_a_restart
from router.ports import Clock

LOOK_INTERVAL_S: Final = 1.0
NAMES_MAX: Final = 5
"""Flows that are named when the worker ends."""
STALLED: Final = "records wait, and nothing was done for too long"

_log = logging.getLogger(__name__)


class WorkerStuck(Exception):
    """Flows make no progress and opening their sources anew did not help: this process must end."""


class KeptFlows(Protocol):
    """The supervisor, as far as it is watched."""

    def keepers(self) -> Sequence[FlowKeeper]:
        """Of everything that runs here, starts or drains."""
        ...


class HealthWatch:
    """Looks every `LOOK_INTERVAL_S`. `run` is called once, everything else at any time."""

    def __init__(self, flows: KeptFlows, *, clock: Clock, memory: RestartMemory) -> None:
        self._flows = flows
        self._clock = clock
        self._memory = memory
        self._began_s = clock.monotonic_s()
        self._watchdogs: dict[Instance, Watchdog] = {}
        self._stuck: set[Instance] = set()
        self._hopeless: Mapping[str, datetime] = {}
        self._unhealthy = 0
        self._watched = 0

    @property
    def impaired(self) -> bool:
        """Are more than half of the flows unhealthy?"""
        return is_impaired(unhealthy=self._unhealthy, flows=self._watched)

    @property
    def unhealthy(self) -> int:
        """Flow instances that are unhealthy."""
        return self._unhealthy

    async def run(self) -> None:
        """Watch for ever. Raises WorkerStuck when only another process can help."""
        self._hopeless = self._memory.load()
        before_s = self._clock.monotonic_s()
        while True:
            await self._clock.sleep(LOOK_INTERVAL_S)
            now_s = self._clock.monotonic_s()
            self._look(now_s - before_s)
            before_s = now_s
            self._decide()

    def _look(self, elapsed_s: float) -> None:
        """Judge every flow, and have those opened anew that are stuck."""
        watched: dict[Instance, Watchdog] = {}
        unhealthy = 0
        for keeper in self._flows.keepers():
            spec = keeper.wanted
            if spec is None:
                continue
            watchdog = self._watchdogs.get(keeper.instance) or Watchdog()
            watched[keeper.instance] = watchdog
            verdict = watchdog.look(
                keeper.status(),
                run_max_s=spec.call_timeout_s,
                rest_max_s=spec.retries.rest_max_s,
                elapsed_s=elapsed_s,
            )
            keeper.healthy = verdict is Verdict.WELL
            unhealthy += not keeper.healthy
            if verdict in (Verdict.RESTART_SOURCE, Verdict.STUCK):
                keeper.restart(STALLED)
            if verdict is Verdict.STUCK:
                self._stuck.add(keeper.instance)
            elif verdict is Verdict.WELL:
                self._stuck.discard(keeper.instance)
        self._stuck &= watched.keys()
        self._watchdogs = watched
        self._unhealthy, self._watched = unhealthy, len(watched)

    def _decide(self) -> None:
        """End the worker if that is worth it."""
        stuck = {instance.flow_id for instance in self._stuck}
        flows = len({instance.flow_id for instance in self._watchdogs})
        uptime_s = self._clock.monotonic_s() - self._began_s
        now = self._clock.now()
        hopeless = _recent(self._hopeless, now=now) if stuck else {}
        if not worth_a_restart(stuck, flows=flows, hopeless=hopeless.keys(), uptime_s=uptime_s):
            return
        self._memory.save(hopeless | dict.fromkeys(stuck, now))
        names = ", ".join(sorted(stuck)[:NAMES_MAX])
        raise WorkerStuck(
            f"{len(stuck)} of {flows} flows make no progress although their sources were opened "
            f"anew ({names}): start this worker again"
        )


def _recent(restarts: Mapping[str, datetime], *, now: datetime) -> dict[str, datetime]:
    """Without those of so long ago that another try is worth it, or of a clock that was wrong."""
    since = now - timedelta(seconds=HOPELESS_S)
    return {flow_id: at for flow_id, at in restarts.items() if since < at <= now}
