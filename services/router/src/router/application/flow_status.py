"""Any worker answers for all flows: its own, those of the others by asking them, the rest derived.

The price: an answer about all flows costs one call to each other worker, and a worker that does not
answer within the deadline is named instead of waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kernel.errors import EventflowsError

from router.application.plans import BlockedFlow, Plan
from router.control_ports import Peers, WorkerEntry, Workers
from router.domain.flow_report import FlowReport, ReportState, prevailing, report_of_pump
from router.domain.status import PumpStatus

FLOW_IDS_MAX = 1_000
"""Flows that one question may name."""
PEERS_AT_ONCE_MAX = 32

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
        """The flows of this worker alone; all of them when none are named."""
        reports = {
            blocked.flow_id: FlowReport(
                flow_id=blocked.flow_id,
                state=ReportState.BLOCKED,
                reason=blocked.reason,
                worker=self._worker_id,
            )
            for blocked in self._local.blocked()
        }
        for status in self._local.statuses():
            report = report_of_pump(status, worker=self._worker_id)
            if status.flow_id in reports:  # it drains because it was just blocked: say why
                report = reports[status.flow_id]
            reports[status.flow_id] = report
        named = set(flow_ids) or set(reports)
        return FlowStatusAnswer(flows=tuple(reports[key] for key in sorted(named & set(reports))))

    async def everywhere(self, flow_ids: Sequence[str] = ()) -> FlowStatusAnswer:
        """The named flows, or all enabled ones, wherever they run. A flow that does not exist is
        left out."""
        others = self._workers.others()
        answers = await asyncio.gather(*(self._ask(worker, flow_ids) for worker in others))
        reports = {report.flow_id: report for report in self.own(flow_ids).flows}
        for report in (report for answer in answers if answer is not None for report in answer):
            known = reports.get(report.flow_id)
            reports[report.flow_id] = report if known is None else prevailing(known, report)
        silent = [w.worker_id for w, answer in zip(others, answers, strict=True) if answer is None]
        for flow_id in set(flow_ids) or set(self._known.enabled()):
            derived = self._derived(flow_id, silent=bool(silent))
            if derived is not None and _says_less(reports.get(flow_id)):
                reports[flow_id] = derived
        return FlowStatusAnswer(
            flows=tuple(reports[flow_id] for flow_id in sorted(reports)),
            unreachable_workers=tuple(silent),
        )

    async def _ask(self, worker: WorkerEntry, flow_ids: Sequence[str]) -> list[FlowReport] | None:
        try:
            async with self._slots:
                return await self._peers.flow_reports(worker, flow_ids)
        except EventflowsError as error:
            _log.warning("worker %s did not answer: %s", worker.worker_id, error)
            return None

    def _derived(self, flow_id: str, *, silent: bool) -> FlowReport | None:
        """What the catalog alone can say; None for a flow that it does not know."""
        plan = self._known.plan(flow_id)
        if isinstance(plan, BlockedFlow):
            return FlowReport(flow_id=flow_id, state=ReportState.BLOCKED, reason=plan.reason)
        if plan is not None:
            reason = (
                "its worker does not answer" if silent else "no worker has taken the flow over yet"
            )
            return FlowReport(flow_id=flow_id, state=ReportState.UNKNOWN, reason=reason)
        if self._known.is_known(flow_id):
            return FlowReport(flow_id=flow_id, state=ReportState.STOPPED, reason="disabled")
        return None


def _says_less(report: FlowReport | None) -> bool:
    """Is there no report, or only one of a pump that is gone?"""
    return report is None or report.state is ReportState.STOPPED
