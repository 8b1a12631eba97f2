"""One answer about all flows, from many workers and the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from kernel.errors import Unavailable
from router.application.flow_status import FlowStatusQuery
from router.application.plans import BlockedFlow, Plan
from router.control_ports import WorkerEntry
from router.domain.flow_report import FlowReport, ReportState, prevailing, report_of_pump
from router.domain.outcome import OutcomeKind, failed
from router.domain.status import PumpState, PumpStatus
from router.entrypoints.rpc import message_of

from tests.support.manual_clock import BEGINNING
from tests.unit.router_control.stage import spec

OTHER = WorkerEntry(worker_id="two", address="127.0.0.1:1", shards=frozenset({1}))


def status(flow_id: str, state: PumpState = PumpState.RUNNING) -> PumpStatus:
    return PumpStatus(
        flow_id=flow_id,
        state=state,
        reason="",
        since=BEGINNING,
        last_progress=None,
        lag_records=3,
        in_flight=2,
        settled_total=11,
        dead_lettered_total=1,
        retries_total=4,
        partitions=5,
    )


@dataclass(slots=True)
class World:
    """Everything around the query, as the test says."""

    own: list[PumpStatus] = field(default_factory=list)
    own_blocked: list[BlockedFlow] = field(default_factory=list)
    wanted: dict[str, Plan | None] = field(default_factory=dict)
    there: dict[str, list[FlowReport]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    asked: list[tuple[str, Sequence[str]]] = field(default_factory=list)

    def statuses(self) -> tuple[PumpStatus, ...]:
        return tuple(self.own)

    def blocked(self) -> tuple[BlockedFlow, ...]:
        return tuple(self.own_blocked)

    def enabled(self) -> tuple[str, ...]:
        return tuple(flow_id for flow_id, plan in self.wanted.items() if plan is not None)

    def is_known(self, flow_id: str) -> bool:
        return flow_id in self.wanted

    def plan(self, flow_id: str) -> Plan | None:
        return self.wanted.get(flow_id)

    def others(self) -> tuple[WorkerEntry, ...]:
        names = sorted({*self.there, *self.silent})
        return tuple(replace(OTHER, worker_id=name) for name in names)

    async def flow_reports(self, worker: WorkerEntry, flow_ids: Sequence[str]) -> list[FlowReport]:
        self.asked.append((worker.worker_id, flow_ids))
        if worker.worker_id in self.silent:
            raise Unavailable("it does not answer")
        return self.there[worker.worker_id]

    @property
    def query(self) -> FlowStatusQuery:
        return FlowStatusQuery(worker_id="one", local=self, known=self, workers=self, peers=self)


def test_a_reason_with_half_a_character_can_be_sent() -> None:
    outcome = failed(OutcomeKind.UNREACHABLE, "away: \ud800")
    report = report_of_pump(replace(status("a"), reason=outcome.error), worker="one")
    assert message_of(report).SerializeToString()
    assert message_of(report).reason == "away: ?"


def states(flows: Sequence[FlowReport]) -> dict[str, ReportState]:
    return {flow.flow_id: flow.state for flow in flows}


def test_own_flows_carry_everything_that_the_pump_says() -> None:
    (report,) = World(own=[status("a")]).query.own().flows
    assert report == FlowReport(
        flow_id="a",
        state=ReportState.RUNNING,
        since=BEGINNING,
        worker="one",
        lag_records=3,
        in_flight=2,
        settled_total=11,
        dead_lettered_total=1,
        retries_total=4,
        partitions=5,
    )


def test_asked_for_named_flows_a_worker_speaks_of_those_alone() -> None:
    world = World(own=[status("a"), status("b")])
    assert states(world.query.own(["b", "c"]).flows) == {"b": ReportState.RUNNING}


def test_a_flow_that_drains_since_it_was_blocked_is_called_blocked() -> None:
    blocked = BlockedFlow(flow_id="a", reason="no grant")
    world = World(own=[status("a", PumpState.DRAINING)], own_blocked=[blocked])
    (report,) = world.query.own().flows
    assert (report.state, report.reason) == (ReportState.BLOCKED, "no grant")


async def test_flows_of_all_workers_stand_in_one_answer_sorted_by_id() -> None:
    there = FlowReport(flow_id="a", state=ReportState.RUNNING, worker="two")
    world = World(
        own=[status("b")], wanted={"a": spec("a"), "b": spec("b")}, there={"two": [there]}
    )
    answer = await world.query.everywhere()
    assert [flow.flow_id for flow in answer.flows] == ["a", "b"]
    assert [flow.worker for flow in answer.flows] == ["two", "one"]
    assert answer.unreachable_workers == ()


async def test_other_workers_are_asked_for_the_named_flows_only() -> None:
    world = World(there={"two": []})
    await world.query.everywhere(["a"])
    assert world.asked == [("two", ["a"])]


async def test_a_worker_that_does_not_answer_is_named_and_its_flows_are_unknown() -> None:
    world = World(own=[status("b")], wanted={"a": spec("a"), "b": spec("b")}, silent={"two"})
    answer = await world.query.everywhere()
    assert answer.unreachable_workers == ("two",)
    assert states(answer.flows) == {"a": ReportState.UNKNOWN, "b": ReportState.RUNNING}
    assert "does not answer" in answer.flows[0].reason


async def test_blocked_disabled_and_unclaimed_flows_come_from_the_catalog() -> None:
    world = World(
        wanted={"a": BlockedFlow(flow_id="a", reason="no grant"), "b": None, "c": spec("c")}
    )
    answer = await world.query.everywhere(["a", "b", "c", "nobody"])
    assert {flow.flow_id: (flow.state, flow.reason) for flow in answer.flows} == {
        "a": (ReportState.BLOCKED, "no grant"),
        "b": (ReportState.STOPPED, "disabled"),
        "c": (ReportState.UNKNOWN, "no worker has taken the flow over yet"),
    }


async def test_asked_for_all_flows_disabled_ones_are_left_out() -> None:
    world = World(wanted={"a": spec("a"), "b": None})
    assert set(states((await world.query.everywhere()).flows)) == {"a"}


def test_during_a_handover_the_new_owner_prevails() -> None:
    old = FlowReport(flow_id="a", state=ReportState.DRAINING, worker="one")
    new = FlowReport(flow_id="a", state=ReportState.STARTING, worker="two")
    assert prevailing(old, new) is new
    assert prevailing(new, old) is new
    assert prevailing(new, replace(new, state=ReportState.STOPPED)) is new
