"""Any worker answers for all flows: its own, those of the others by asking them, the rest derived.

The price: an answer about all flows costs one call to each other worker, and a worker that does not
answer within the deadline is named instead of waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kernel.errors import EventflowsError

from router.application.plans import BlockedFlow, Plan
from router.control_ports import Peers, WorkerEntry, Workers
from router.domain.flow_report import (
    FlowReport,
    ReportState,
    merged,
    prevailing,
    report_of_pump,
)
from router.domain.status import PumpStatus

FLOW_IDS_MAX = 1_000
"""Flows that one question may name."""
PEERS_AT_ONCE_MAX = 32
FLOWS_AT_ONCE_MAX = 128
"""Flows that are looked up before other tasks get their turn: some 3 ms."""

_log = logging.getLogger(__name__)


class LocalFlows(Protocol):
    """What the supervisor of this worker knows."""

    def statuses(self) -> tuple[PumpStatus, ...]:
        """Flows that run, start or drain here."""
        ...

    def blocked(self) -> tuple[BlockedFlow, ...]:
        """Flows of our shards that do not run."""
        ...


class KnownFlows(Protocol):
    """What the catalog knows."""

    def enabled(self) -> tuple[str, ...]:
        """Ids of the enabled flows."""
        ...

    def plan(self, flow_id: str) -> Plan | None:
        """How the flow shall run, or why not; None for one that is not enabled."""
        ...

    def instances(self, flow_id: str) -> int:
        """How many instances the flow wants; 0 for one that is not enabled."""
        ...

    def is_known(self, flow_id: str) -> bool:
        """Does the flow exist, enabled or not?"""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowStatusAnswer:
    """Reports by flow id, and the ids of workers that did not answer."""

    flows: tuple[FlowReport, ...]
    unreachable_workers: tuple[str, ...] = ()


class FlowStatusQuery:
    """Answers GetFlowStatus. Any number of questions at the same time."""

    def __init__(
        self,
        *,
        worker_id: str,
        local: LocalFlows,
        known: KnownFlows,
        workers: Workers,
        peers: Peers,
    ) -> None:
        self._worker_id = worker_id
        self._local = local
        self._known = known
        self._workers = workers
        self._peers = peers
        self._slots = asyncio.Semaphore(PEERS_AT_ONCE_MAX)

    def own(self, flow_ids: Sequence[str] = ()) -> FlowStatusAnswer:
        """What this worker itself runs or holds back, a report for each instance; of all flows when
        none are named."""
        named = frozenset(flow_ids)
        held_back = [b for b in self._local.blocked() if not named or b.flow_id in named]
        reports = {
            (blocked.flow_id, blocked.instance or 0): FlowReport(
                flow_id=blocked.flow_id,
                instance=blocked.instance or 0,
                state=ReportState.BLOCKED,
                reason=blocked.reason,
                worker=self._worker_id,
            )
            for blocked in held_back
        }
        # A flow that drains because it was just blocked is called blocked: that says why.
        whole = {blocked.flow_id for blocked in held_back if blocked.instance is None}
        for status in self._local.statuses():
            if (named and status.flow_id not in named) or status.flow_id in whole:
                continue
            key = status.flow_id, status.instance
            reports.setdefault(key, report_of_pump(status, worker=self._worker_id))
        return FlowStatusAnswer(flows=tuple(reports[key] for key in sorted(reports)))

    async def everywhere(self, flow_ids: Sequence[str] = ()) -> FlowStatusAnswer:
        """The named flows, or all enabled ones, wherever they run; one report for each flow. A flow
        that does not exist is left out."""
        others = self._workers.others()
        answers = await asyncio.gather(*(self._ask(worker, flow_ids) for worker in others))
        silent = [w.worker_id for w, answer in zip(others, answers, strict=True) if answer is None]
        found: dict[str, dict[int, FlowReport]] = {}
        for answer in (self.own(flow_ids).flows, *answers):
            for report in answer or ():
                instances = found.setdefault(report.flow_id, {})
                known = instances.get(report.instance)
                instances[report.instance] = report if known is None else prevailing(known, report)
        for number, flow_id in enumerate(set(flow_ids) or set(self._known.enabled())):
            if number % FLOWS_AT_ONCE_MAX == FLOWS_AT_ONCE_MAX - 1:
                await asyncio.sleep(0)  # the pumps of this worker wait meanwhile
            self._complete(found, flow_id, silent=bool(silent))
        return FlowStatusAnswer(
            flows=tuple(merged(list(found[flow_id].values())) for flow_id in sorted(found)),
            unreachable_workers=tuple(silent),
        )

    async def _ask(self, worker: WorkerEntry, flow_ids: Sequence[str]) -> list[FlowReport] | None:
        try:
            async with self._slots:
                return await self._peers.flow_reports(worker, flow_ids)
        except EventflowsError as error:
            _log.warning("worker %s did not answer: %s", worker.worker_id, error)
            return None

    def _complete(
        self, found: dict[str, dict[int, FlowReport]], flow_id: str, *, silent: bool
    ) -> None:
        """Add what the catalog alone can say of the flow, where no worker said it."""
        reports = {
            instance: report
            for instance, report in found.get(flow_id, {}).items()
            if report.state is not ReportState.STOPPED  # of a pump that is gone
        }
        if not reports or len(reports) < self._known.instances(flow_id):
            for derived in self._derived(flow_id, silent=silent):
                reports.setdefault(derived.instance, derived)
        if reports:
            found[flow_id] = reports

    def _derived(self, flow_id: str, *, silent: bool) -> Iterable[FlowReport]:
        """What the catalog alone can say of each instance; nothing of a flow it does not know."""
        plan = self._known.plan(flow_id)
        if isinstance(plan, BlockedFlow):
            yield FlowReport(
                flow_id=flow_id, state=ReportState.BLOCKED, reason=plan.reason, instances=0
            )
        elif plan is not None:
            reason = (
                "its worker does not answer" if silent else "no worker has taken the flow over yet"
            )
            for instance in range(plan.parallelism):
                yield FlowReport(
                    flow_id=flow_id,
                    instance=instance,
                    instances=0,
                    state=ReportState.UNKNOWN,
                    reason=reason,
                )
        elif self._known.is_known(flow_id):
            yield FlowReport(
                flow_id=flow_id, state=ReportState.STOPPED, reason="disabled", instances=0
            )
