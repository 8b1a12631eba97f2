"""Whole flows that a rule halted here, until the registry's log says so as well.

    a rule halts ──▶ untold ──the log has a pause──▶ told ──resume──▶ over
                      │  ▲ └───────────────resume, disable──────────────▲
                      └──┘ the registry is away, or the flow was changed meanwhile

A halt becomes a pause of the flow in the log, so it outlives pumps, workers, settings, versions and
disabling, and a resume ends it. One that is over is forgotten when the next one is told, and holds
nobody until then. A worker that dies before the registry has it loses it: the record that halted
the flow is not settled, so the next owner comes to it again, with others beside it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from catalog.records import Flow
from kernel.backoff import delay_s
from kernel.errors import EventflowsError, Unavailable

from router.application.flow_history import CatalogSoFar
from router.application.until_stop import rest
from router.control_ports import FlowPauses
from router.ports import Clock, Random

RETRY_FIRST_S: Final = 0.2
RETRY_LONGEST_S: Final = 10.0
KNOWN_WITHIN_S: Final = 5.0
"""How long our catalog may be behind a pause that the registry took, before it is asked again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowHalt:
    """Why a flow was halted: `reason` for whoever looks now, `noted` for the log, which is kept for
    ever, so nothing of a record stands in it. A resume above `resumed_position` ends it."""

    reason: str
    noted: str
    resumed_position: int


class FlowHalts:
    """Of one worker. `run` for as long as it lives; the rest never waits."""

    def __init__(
        self, *, feed: CatalogSoFar, pauses: FlowPauses, clock: Clock, random: Random
    ) -> None:
        self._feed = feed
        self._pauses = pauses
        self._clock = clock
        self._random = random
        self._halts: dict[str, FlowHalt] = {}
        """One a flow at most, of flows that ran here."""
        self._begun = asyncio.Event()

    def of(self, flow_id: str) -> FlowHalt | None:
        """By what a new pump of the flow is halted; None: by nothing that this worker knows."""
        halt = self._halts.get(flow_id)
        return None if halt is None or _is_over(self._flow(flow_id), halt) else halt

    def begin(self, flow_id: str, halt: FlowHalt) -> None:
        """The flow was halted; the registry will be told until it knows."""
        self._halts[flow_id] = halt
        self._begun.set()

    async def run(self) -> None:
        """Tell the registry, until cancelled."""
        failures = 0
        while True:
            self._begun.clear()
            if await self._tell_all():
                failures = 0
                await self._begun.wait()
                continue
            failures += 1
            wait_s = delay_s(
                failures,
                first_s=RETRY_FIRST_S,
                longest_s=RETRY_LONGEST_S,
                random=lambda: self._random.uniform(0.0, 1.0),
            )
            await rest(wait_s, until=self._begun, clock=self._clock)

    async def _tell_all(self) -> bool:
        """Tell each that is untold once; True: none is left."""
        all_told = True
        for flow_id in tuple(self._halts):
            flow, halt = self._flow(flow_id), self._halts[flow_id]  # both may be newer than the id
            if flow is None or _is_over(flow, halt):
                del self._halts[flow_id]
            elif flow.paused is None:
                try:
                    await self._tell(flow, halt)
                except EventflowsError as error:
                    names = {"flow_id": flow_id}
                    _log.warning("a halt is not in the log yet: %s", error.message, extra=names)
                    all_told = False
                    if isinstance(error, Unavailable):
                        break  # to the others it would say the same
        return all_told

    async def _tell(self, flow: Flow, halt: FlowHalt) -> None:
        """By the version a resume that we do not know of yet comes first, and wins."""
        position = await self._pauses.pause(
            flow.flow_id, reason=halt.noted, stream_version=flow.stream_version
        )
        await self._feed.wait_for(position, timeout_s=KNOWN_WITHIN_S)

    def _flow(self, flow_id: str) -> Flow | None:
        return self._feed.catalog.flow(flow_id)


def _is_over(flow: Flow | None, halt: FlowHalt) -> bool:
    return flow is None or flow.settings is None or flow.resumed_position > halt.resumed_position
