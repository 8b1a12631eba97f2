"""What should run, runs; what should not, does not; nobody waits for anybody else."""

from __future__ import annotations

import asyncio

import pytest
from catalog.events import SecurityProtocol
from kernel.errors import Unavailable
from router.application.flow_keeper import (
    BLOCKED_LOOK_S,
    NOT_ENDING,
    RESTART_FIRST_S,
    RESTART_LONGEST_S,
)
from router.application.plans import BlockedFlow
from router.application.shards import CONFIRMATION_AGE_MAX_S, SHARDS, shard_of
from router.application.supervisor import by_state
from router.domain.errors import CredentialsMissing
from router.domain.flow_spec import ConnectionTerms
from router.domain.places import Instance
from router.domain.run_mode import RunMode, Steering
from router.domain.status import PumpState, PumpStatus

from tests.support.manual_clock import BEGINNING, let_others_run, until
from tests.unit.router_control.stage import running_supervisor, spec

A, B, C = (spec(name) for name in ("a", "b", "c"))


async def test_enabled_flows_run_and_disabled_ones_end() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A, B)
        await stage.until_running("a", "b")
        stage.plans.set(B)
        await stage.until_running("b")
        assert stage.newest("a").stops == 1
        assert stage.newest("b").stops == 0


async def test_a_flow_that_a_change_does_not_touch_keeps_its_pump() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A)
        await stage.until_running("a")
        stage.plans.set(spec("a", registry_position=A.registry_position + 1), B)
        await stage.until_running("a", "b")
        assert len(stage.pumps["a"]) == 1


async def test_another_parallelism_starts_and_ends_only_what_it_adds_or_takes() -> None:
    """Of the spec of an instance the number of them is no part: it runs the same."""
    async with running_supervisor() as stage:
        stage.plans.set(spec("a", parallelism=2))
        await until(lambda: len(stage.pumps.get("a", ())) == 2)
        stage.plans.set(spec("a", parallelism=5))
        await until(lambda: len(stage.pumps["a"]) == 5)
        assert len(stage.pumps["a"]) == 5
        assert not any(pump.stops for pump in stage.pumps["a"])
        stage.plans.set(spec("a", parallelism=1))
        await until(lambda: set(stage.instances()) == {Instance("a", 0)})
        stops = {pump.spec.instance: pump.stops for pump in stage.pumps["a"]}
        assert stops == {0: 0, 1: 1, 2: 1, 3: 1, 4: 1}


async def test_changed_settings_drain_the_old_pump_before_the_new_one_is_made() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A)
        await stage.until_running("a")
        old = stage.newest("a")
        old.may_stop.clear()
        stage.plans.set(spec("a", concurrency_max=7))
        await until(lambda: old.stops == 1)
        await let_others_run()
        assert len(stage.pumps["a"]) == 1
        assert stage.running() == {"a": PumpState.DRAINING}
        old.may_stop.set()
        await until(lambda: len(stage.pumps["a"]) == 2)
        assert old.ended
        assert stage.newest("a").spec.concurrency_max == 7


async def test_a_flow_that_is_enabled_again_while_it_drains_gets_a_new_pump() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A)
        await stage.until_running("a")
        stage.newest("a").may_stop.clear()
        stage.plans.set()
        await until(lambda: stage.newest("a").stops == 1)
        stage.plans.set(spec("a", enabled_position=99))
        await let_others_run()
        stage.newest("a").may_stop.set()
        await until(lambda: len(stage.pumps["a"]) == 2)
        await stage.until_running("a")


async def test_a_flow_that_drains_for_long_delays_no_other() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A)
        await stage.until_running("a")
        stage.newest("a").may_stop.clear()
        stage.plans.set(B)
        wanted = {"a": PumpState.DRAINING, "b": PumpState.RUNNING}
        await until(lambda: stage.running() == wanted)


async def test_a_flow_whose_pump_cannot_be_made_for_long_delays_no_other() -> None:
    async with running_supervisor() as stage:
        stage.hanging.add("a")
        stage.plans.set(A, B)
        await until(lambda: stage.running().get("b") is PumpState.RUNNING)
        assert stage.running()["a"] is PumpState.STARTING


async def test_flows_of_other_shards_are_left_alone_and_follow_the_shards() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A, B, C)
        await stage.until_running("a", "b", "c")
        stage.ownership.assign(set(range(SHARDS)) - {shard_of("b")})
        await stage.until_running("a", "c")
        stage.ownership.assign(range(SHARDS))
        await stage.until_running("a", "b", "c")
        assert {name: len(pumps) for name, pumps in stage.pumps.items()} == {
            "a": 1,
            "b": 2,
            "c": 1,
        }


async def test_a_worker_that_nobody_confirms_stops_all_flows_without_being_told() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A, B)
        await stage.until_running("a", "b")
        stage.clock.advance(CONFIRMATION_AGE_MAX_S + 1)
        await stage.until_stopped()
        stage.ownership.confirm(at_s=stage.clock.monotonic_s())
        await stage.until_running("a", "b")


async def test_a_pump_that_raises_is_made_again_after_a_pause_that_grows() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A)
        for failures in range(1, 5):
            await stage.until_running("a")
            stage.newest("a").finish(RuntimeError("a bug"))
            await until(lambda: stage.running() == {"a": PumpState.BACKING_OFF})
            status = stage.supervisor.statuses()[0]
            assert "RuntimeError" in status.reason
            assert "a bug" not in status.reason  # it could hold anything
            await until(lambda: bool(stage.clock.waits()))
            assert stage.clock.waits() == [pytest.approx(RESTART_FIRST_S * 2 ** (failures - 1))]
            stage.clock.advance(RESTART_LONGEST_S / 2)
        await stage.until_running("a")
        assert len(stage.pumps["a"]) == 5


async def test_a_pump_that_ran_for_long_before_it_raised_starts_with_the_shortest_pause() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A)
        for _ in range(3):
            await stage.until_running("a")
            stage.clock.advance(RESTART_LONGEST_S + 1)
            stage.ownership.confirm(at_s=stage.clock.monotonic_s())
            stage.newest("a").finish(RuntimeError("a bug"))
            await until(lambda: bool(stage.clock.waits()))
            assert stage.clock.waits() == [pytest.approx(RESTART_FIRST_S)]
            stage.clock.advance(RESTART_FIRST_S)


async def test_credentials_that_cannot_be_read_are_tried_again_and_the_reason_shows() -> None:
    async with running_supervisor() as stage:
        stage.refusals["a"] = Unavailable("the registry cannot be reached")
        stage.plans.set(A)
        await until(lambda: stage.running() == {"a": PumpState.BACKING_OFF})
        assert stage.supervisor.statuses()[0].reason == "the registry cannot be reached"
        del stage.refusals["a"]
        await until(lambda: bool(stage.clock.waits()))
        stage.clock.advance(RESTART_FIRST_S)
        await stage.until_running("a")


async def test_a_change_ends_the_pause_after_a_failure() -> None:
    async with running_supervisor() as stage:
        stage.refusals["a"] = Unavailable("the registry cannot be reached")
        stage.plans.set(A)
        await until(lambda: bool(stage.clock.waits()))
        stage.refusals.clear()
        stage.plans.set(spec("a", concurrency_max=3))
        await stage.until_running("a")


async def test_a_pump_that_failed_for_good_keeps_its_words_until_something_changes() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A)
        await stage.until_running("a")
        stage.newest("a").state = PumpState.FAILED
        stage.newest("a").finish()
        stage.plans.set(A, B)
        await until(lambda: stage.running().get("b") is PumpState.RUNNING)
        assert stage.running()["a"] is PumpState.FAILED
        healthy = {one.flow_id: one.healthy for one in stage.supervisor.statuses()}
        assert healthy == {"a": False, "b": True}
        assert len(stage.pumps["a"]) == 1
        stage.plans.set(spec("a", enabled_position=99), B)
        await stage.until_running("a", "b")


async def test_a_pump_that_does_not_stop_in_time_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.application.flow_keeper.STOP_SLACK_S", 0.05)
    async with running_supervisor() as stage:
        stage.plans.set(A)
        await stage.until_running("a")
        stage.newest("a").may_stop.clear()
        stage.plans.set()
        await stage.until_stopped()
        assert stage.newest("a").cancelled


async def test_no_second_pump_is_made_while_the_first_one_does_not_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("STOP_SLACK_S", "CANCEL_AGAIN_S"):
        monkeypatch.setattr(f"router.application.flow_keeper.{name}", 0.02)
    async with running_supervisor() as stage:
        stage.plans.set(A)
        await stage.until_running("a")
        first = stage.newest("a")
        first.may_stop.clear()
        first.may_end.clear()
        stage.plans.set(spec("a", concurrency_max=7))
        await until(lambda: caplog.text.count("does not end although it was cancelled") >= 3)
        assert stage.pumps["a"] == [first]
        (status,) = stage.supervisor.statuses()
        assert (status.state, status.reason) == (PumpState.DRAINING, NOT_ENDING)
        first.may_end.set()
        await until(lambda: len(stage.pumps["a"]) == 2)
        await stage.until_running("a")
        assert stage.supervisor.statuses()[0].reason == ""


async def test_a_worker_stops_although_a_pump_does_not_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("flow_keeper", "supervisor"):
        monkeypatch.setattr(f"router.application.{module}.STOP_SLACK_S", 0.02)
    async with running_supervisor() as stage:
        stage.plans.set(A)
        await stage.until_running("a")
        stage.newest("a").may_stop.clear()
        stage.newest("a").may_end.clear()
        async with asyncio.timeout(5):
            await stage.supervisor.stop()


async def test_over_capacity_the_flows_that_run_stay_and_new_ones_are_blocked() -> None:
    async with running_supervisor(capacity_max=2) as stage:
        stage.plans.set(B, C)
        await stage.until_running("b", "c")
        stage.plans.set(A, B, C)
        await until(lambda: bool(stage.supervisor.blocked()))
        assert [blocked.flow_id for blocked in stage.supervisor.blocked()] == ["a"]
        assert "capacity" in stage.supervisor.blocked()[0].reason
        await stage.until_running("b", "c")
        stage.plans.set(A, C)
        await stage.until_running("a", "c")
        assert stage.supervisor.blocked() == ()


async def test_a_blocked_flow_does_not_run_and_says_why() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A)
        await stage.until_running("a")
        stage.plans.set(BlockedFlow(flow_id="a", reason="the grant was taken away"))
        await stage.until_stopped()
        assert stage.supervisor.blocked() == (
            BlockedFlow(flow_id="a", reason="the grant was taken away"),
        )


async def test_stopping_drains_every_flow_and_starts_none() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A, B)
        await stage.until_running("a", "b")
        await stage.supervisor.stop()
        assert [stage.newest(name).stops for name in ("a", "b")] == [1, 1]
        stage.plans.set(A, B, C)
        stage.ownership.release()
        await let_others_run()
        assert stage.running() == {}
        assert "c" not in stage.pumps


async def test_flows_are_counted_by_state() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A, B, BlockedFlow(flow_id="c", reason="why"))
        await stage.until_running("a", "b")
        assert stage.supervisor.counts() == {"running": 2, "blocked": 1}


async def test_a_flow_without_credentials_is_blocked_and_looks_again_now_and_then() -> None:
    async with running_supervisor() as stage:
        stage.refusals["a"] = CredentialsMissing("enter them again")
        stage.plans.set(A)
        await until(lambda: stage.running() == {"a": PumpState.BLOCKED})
        assert stage.supervisor.statuses()[0].reason == "enter them again"
        since = stage.supervisor.statuses()[0].since
        for _ in range(3):
            await until(lambda: stage.clock.waits() == [BLOCKED_LOOK_S])
            stage.clock.advance(BLOCKED_LOOK_S)
            stage.ownership.confirm(at_s=stage.clock.monotonic_s())
            await let_others_run()
            assert stage.running() == {"a": PumpState.BLOCKED}
        assert stage.supervisor.statuses()[0].since == since, "one trouble, told once"
        del stage.refusals["a"]
        await until(lambda: bool(stage.clock.waits()))
        stage.clock.advance(BLOCKED_LOOK_S)
        stage.ownership.confirm(at_s=stage.clock.monotonic_s())
        await stage.until_running("a")


async def test_new_credentials_wake_a_blocked_flow_at_once() -> None:
    async with running_supervisor() as stage:
        stage.refusals["a"] = CredentialsMissing("enter them again")
        stage.plans.set(A)
        await until(lambda: stage.running() == {"a": PumpState.BLOCKED})
        del stage.refusals["a"]
        terms = ConnectionTerms(
            bootstrap_servers=("kafka:9093",),
            security_protocol=SecurityProtocol.SASL_SSL,
            secret_id="another",
        )
        stage.plans.set(spec("a", terms=terms))
        await stage.until_running("a")


def test_blocked_flows_are_counted_together_wherever_they_were_found() -> None:
    status = PumpStatus(
        flow_id="a",
        state=PumpState.BLOCKED,
        reason="enter them again",
        since=BEGINNING,
        last_progress=None,
        lag_records=0,
        in_flight=0,
        settled_total=0,
        dead_lettered_total=0,
        retries_total=0,
        partitions=0,
    )
    assert by_state((status,), 1) == {"blocked": 2}


def on(shards: frozenset[int] | set[int], flow_id: str, parallelism: int) -> set[Instance]:
    """The instances of a flow on these shards."""
    return {
        Instance(flow_id, number)
        for number in range(parallelism)
        if shard_of(flow_id, instance=number) in shards
    }


async def test_a_worker_runs_the_instances_of_its_shards() -> None:
    async with running_supervisor() as stage:
        here = set(range(SHARDS // 2))
        stage.ownership.assign(here)
        stage.plans.set(spec("a", parallelism=16))
        mine = on(here, "a", 16)
        assert 0 < len(mine) < 16
        await until(lambda: stage.instances() == dict.fromkeys(mine, PumpState.RUNNING))
        assert {(pump.spec.instance, pump.spec.parallelism) for pump in stage.pumps["a"]} == {
            (number, 16) for _, number in mine
        }


async def test_more_shards_start_the_instances_that_they_bring_and_touch_no_other() -> None:
    async with running_supervisor() as stage:
        stage.ownership.assign(range(SHARDS // 2))
        stage.plans.set(spec("a", parallelism=16))
        before = len(on(set(range(SHARDS // 2)), "a", 16))
        await until(lambda: len(stage.pumps.get("a", ())) == before)
        stage.ownership.assign(range(SHARDS))
        await until(lambda: len(stage.pumps["a"]) == 16)
        assert not any(pump.stops for pump in stage.pumps["a"])


async def test_a_flow_without_an_instance_on_our_shards_is_not_even_planned() -> None:
    async with running_supervisor() as stage:
        stage.ownership.assign({shard_of("a")})
        stage.plans.set(A, B, C)
        await stage.until_running("a")
        assert set(stage.plans.followed) == {"a"}


async def test_a_change_looks_at_the_flow_that_it_touches_alone() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A, B, C)
        await stage.until_running("a", "b", "c")
        stage.plans.followed.clear()
        stage.plans.set(A, spec("b", concurrency_max=7), C)
        await until(lambda: len(stage.pumps["b"]) == 2)
        assert stage.plans.followed == ["b"]


async def test_each_instance_takes_a_place() -> None:
    async with running_supervisor(capacity_max=3) as stage:
        stage.plans.set(spec("a", parallelism=2), spec("b", parallelism=2))
        await until(lambda: len(stage.instances()) == 3)
        (over,) = stage.supervisor.blocked()
        assert (over.flow_id, over.instance) == ("b", 1)
        assert "no other worker may take this one while its shard is here" in over.reason
        stage.plans.set(spec("b", parallelism=2))
        await until(lambda: set(stage.instances()) == {Instance("b", 0), Instance("b", 1)})


async def test_a_pause_reaches_the_pump_and_makes_no_other() -> None:
    async with running_supervisor() as stage:
        stage.plans.set(A, B)
        await stage.until_running("a", "b")
        stage.plans.steer("a", Steering(mode=RunMode.PAUSED, reason="the model is being replaced"))
        wanted = {"a": PumpState.PAUSED, "b": PumpState.RUNNING}
        await until(lambda: stage.running() == wanted)
        assert stage.supervisor.statuses()[0].reason == "the model is being replaced"
        stage.plans.steer("a", Steering(resumed_position=7))
        await until(lambda: stage.newest("a").steered[-1] == (RunMode.RUNNING, 7))
        assert len(stage.pumps["a"]) == 1
        assert stage.newest("b").steered == [(RunMode.RUNNING, 0)]


async def test_a_pump_is_steered_before_it_runs() -> None:
    async with running_supervisor() as stage:
        stage.plans.steer("a", Steering(mode=RunMode.DRAINED, resumed_position=3))
        stage.plans.set(A)
        await until(lambda: stage.running() == {"a": PumpState.PAUSED})
        assert stage.newest("a").steered == [(RunMode.DRAINED, 3)]


async def test_a_pause_of_a_flow_that_is_just_being_made_is_not_lost() -> None:
    async with running_supervisor() as stage:
        stage.hanging.add("a")
        stage.plans.set(A)
        await until(lambda: stage.running() == {"a": PumpState.STARTING})
        stage.plans.steer("a", Steering(mode=RunMode.PAUSED))
        await until(lambda: len(stage.plans.followed) == 2)
        stage.hanging.clear()
        stage.plans.set(spec("a", concurrency_max=7))
        await until(lambda: stage.running() == {"a": PumpState.PAUSED})
        assert stage.newest("a").steered == [(RunMode.PAUSED, 0)]
