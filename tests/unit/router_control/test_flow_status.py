"""One answer about all flows, from many workers and the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from kernel.errors import Unavailable
from router.application.flow_status import FlowStatusQuery
from router.application.plans import BlockedFlow, Plan
from router.control_ports import WorkerEntry
from router.domain.flow_report import (
    FlowReport,
    ReportState,
    merged,
    prevailing,
    report_of_pump,
)
from router.domain.flow_spec import FlowSpec
from router.domain.outcome import OutcomeKind, failed
from router.domain.status import LAG_S_UNKNOWN, LAG_UNKNOWN, PumpState, PumpStatus
from router.flow_report_message import message_of, report_from_message

from tests.support.manual_clock import BEGINNING
from tests.unit.router_control.stage import spec

OTHER = WorkerEntry(worker_id="two", address="127.0.0.1:1", shards=frozenset({1}))


FULL = FlowReport(
    flow_id="a",
    state=ReportState.RUNNING,
    instance=1,
    since=BEGINNING,
    worker="one",
    lag_records=3,
    lag_s=1.5,
    oldest_unsettled_s=0.5,
    in_flight=2,
    settled_per_s=7.5,
    error_ratio=0.25,
    settled_total=11,
    dead_lettered_total=1,
    retries_total=4,
    repeats_total=6,
    expired_total=9,
    halted_keys=8,
    bytes_held=9,
    partitions=5,
    healthy=False,
)


def status(flow_id: str, state: PumpState = PumpState.RUNNING, instance: int = 0) -> PumpStatus:
    return PumpStatus(
        flow_id=flow_id,
        instance=instance,
        state=state,
        reason="",
        since=BEGINNING,
        last_progress=None,
        lag_records=3,
        lag_s=1.5,
        oldest_unsettled_s=0.5,
        in_flight=2,
        settled_per_s=7.5,
        error_ratio=0.25,
        settled_total=11,
        dead_lettered_total=1,
        retries_total=4,
        repeats_total=6,
        expired_total=9,
        halted_keys=8,
        bytes_held=9,
        partitions=5,
        healthy=False,
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

    def instances(self, flow_id: str) -> int:
        plan = self.wanted.get(flow_id)
        return plan.parallelism if isinstance(plan, FlowSpec) else int(plan is not None)

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
    (report,) = World(own=[status("a", instance=1)]).query.own().flows
    assert report == FULL


def test_a_report_reads_the_same_after_its_way_to_another_worker() -> None:
    for report in (FULL, *(FlowReport(flow_id="b", state=state) for state in ReportState)):
        assert report_from_message(message_of(report)) == report


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


def test_instances_on_several_workers_are_one_report() -> None:
    one = replace(FULL, instance=0, settled_per_s=2.5, lag_s=0.5, healthy=True)
    other = replace(
        FULL,
        instance=1,
        worker="two",
        state=ReportState.BACKING_OFF,
        reason="unreachable: away",
        last_progress=BEGINNING,
        error_ratio=0.5,
    )
    assert merged([one, other]) == FlowReport(
        flow_id="a",
        state=ReportState.BACKING_OFF,
        instance=0,
        instances=2,
        reason="1 of 2 instances: unreachable: away",
        since=BEGINNING,
        last_progress=BEGINNING,
        worker="one, two",
        lag_records=6,
        lag_s=1.5,
        oldest_unsettled_s=0.5,
        in_flight=4,
        settled_per_s=10.0,
        error_ratio=0.5,
        settled_total=22,
        dead_lettered_total=2,
        retries_total=8,
        repeats_total=12,
        expired_total=18,
        halted_keys=16,
        bytes_held=18,
        partitions=10,
        healthy=False,
    )


def test_every_state_has_a_place_among_the_worse_and_the_better() -> None:
    worst = [replace(FULL, instance=n, state=state) for n, state in enumerate(ReportState)]
    assert merged(worst).state is ReportState.FAILED
    assert merged([replace(FULL, instance=0), replace(FULL, instance=1)]).reason == ""


def test_a_lag_that_one_instance_does_not_know_is_not_known() -> None:
    unknown = replace(FULL, instance=2, lag_records=LAG_UNKNOWN, lag_s=LAG_S_UNKNOWN)
    together = merged([FULL, unknown])
    assert (together.lag_records, together.lag_s) == (LAG_UNKNOWN, LAG_S_UNKNOWN)


async def test_a_flow_of_which_an_instance_runs_nowhere_says_so() -> None:
    world = World(own=[status("a", instance=1)], wanted={"a": spec("a", parallelism=2)})
    (report,) = (await world.query.everywhere()).flows
    assert (report.state, report.instances) == (ReportState.UNKNOWN, 1)
    assert report.reason == "1 of 2 instances: no worker has taken the flow over yet"
    assert report.settled_total == 11


async def test_an_instance_that_moves_counts_once() -> None:
    there = FlowReport(flow_id="a", state=ReportState.STARTING, worker="two", instance=1)
    world = World(
        own=[status("a"), status("a", PumpState.DRAINING, instance=1)],
        wanted={"a": spec("a", parallelism=2)},
        there={"two": [there]},
    )
    (report,) = (await world.query.everywhere()).flows
    assert (report.state, report.instances) == (ReportState.STARTING, 2)
    assert (report.worker, report.in_flight) == ("one, two", 2)


def test_a_blocked_flow_is_blocked_with_all_its_instances() -> None:
    blocked = BlockedFlow(flow_id="a", reason="no grant")
    own = [status("a", PumpState.DRAINING), status("a", PumpState.DRAINING, instance=1)]
    (report,) = World(own=own, own_blocked=[blocked]).query.own().flows
    assert (report.state, report.reason) == (ReportState.BLOCKED, "no grant")
