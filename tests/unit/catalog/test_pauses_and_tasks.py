"""Pauses of flows and dead letter tasks in the read model."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from catalog import columns, snapshot
from catalog import dead_letter_task_table as tasks
from catalog.catalog import Catalog, CatalogImage
from catalog.effective import Runnable, effective
from catalog.events import (
    ApiType,
    BrokerKind,
    DeadLetterTaskFinished,
    DeliveryOrder,
    DeliverySettings,
)
from catalog.kinds import AggregateKind
from catalog.records import DeadLetterTask, DeadLetterTaskKind, DeadLetterTaskState, Flow, Pause
from catalog.touched import Touched, touched

from tests.support.event_log import EventLog, flow_id_of, id_of

FLOW = flow_id_of("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)


@pytest.fixture
def log() -> EventLog:
    """An enabled subscriber flow."""
    log = EventLog()
    log.account("acme")
    log.algorithm("acme/digits", "1.0.0")
    log.connection("plant")
    log.subscribe("plant", "orders", "acme/digits")
    return log


def flow(log: EventLog, flow_id: str = FLOW) -> Flow:
    found = log.catalog().flow(flow_id)
    assert found is not None
    return found


def task(log: EventLog, task_id: str) -> DeadLetterTask:
    found = log.catalog().dead_letter_task(task_id)
    assert found is not None
    return found


# ---- pauses --------------------------------------------------------------------------------------


def test_a_pause_says_how_why_and_since_when(log: EventLog) -> None:
    log.pause(FLOW, drain=True, reason="the line is being rebuilt")
    paused = log.recorded[-1]
    found = flow(log)
    assert found.paused == Pause(
        drain=True,
        reason="the line is being rebuilt",
        position=paused.position,
        time=paused.time,
    )
    assert (found.position, found.stream_version) == (paused.position, paused.version)


def test_a_pause_that_is_changed_keeps_its_beginning(log: EventLog) -> None:
    log.pause(FLOW, reason="first")
    began = log.recorded[-1]
    log.pause(FLOW, drain=True, reason="second")
    found = flow(log)
    assert found.paused == Pause(
        drain=True, reason="second", position=began.position, time=began.time
    )
    assert found.position == log.recorded[-1].position


def test_a_resume_ends_the_pause_and_is_remembered_by_its_position(log: EventLog) -> None:
    assert flow(log).resumed_position == 0
    log.pause(FLOW)
    log.resume(FLOW)
    found = flow(log)
    assert (found.paused, found.resumed_position) == (None, log.recorded[-1].position)


def test_a_paused_flow_may_run_since_its_pump_is_steered_and_not_taken_away(log: EventLog) -> None:
    log.pause(FLOW)
    found = effective(log.catalog(), FLOW)
    assert isinstance(found, Runnable)
    assert found.flow.paused is not None


def test_a_pause_outlives_new_settings_and_disabling(log: EventLog) -> None:
    log.pause(FLOW, reason="mine")
    log.enable(FLOW, "1.0.0")
    log.disable(FLOW)
    log.enable(FLOW)
    found = flow(log)
    assert found.paused is not None
    assert found.paused.reason == "mine"


def test_a_pause_goes_with_the_flow(log: EventLog) -> None:
    listener = log.listener("acme/digits", "queue", BrokerKind.SERVICE_BUS)
    log.pause(listener)
    log.delete(listener)
    assert log.catalog().flow(listener) is None
    log.pause(FLOW)
    log.resume(FLOW)
    log.pause(FLOW)
    log.delete(FLOW)
    again = flow(log)  # by its grant, as if never created
    assert (again.paused, again.resumed_position) == (None, 0)


def test_a_pause_of_a_flow_that_nobody_knows_changes_nothing(log: EventLog) -> None:
    log.pause(id_of("nobody"))
    log.resume(id_of("nobody"))
    assert log.catalog().flow(id_of("nobody")) is None


def test_settings_of_delivery_are_kept_with_the_others(log: EventLog) -> None:
    delivery = DeliverySettings(order=DeliveryOrder.NONE, parallelism=2)
    log.enable(FLOW, delivery=delivery)
    settings = flow(log).settings
    assert settings is not None
    assert settings.delivery == delivery


# ---- tasks ---------------------------------------------------------------------------------------


def test_a_task_goes_on_until_it_is_finished(log: EventLog) -> None:
    task_id = log.redrive(FLOW, version="1.0.0", rate_per_s=2.5)
    requested = log.recorded[-1]
    before = task(log, task_id)
    assert (before.kind, before.state) == (
        DeadLetterTaskKind.REDRIVE, DeadLetterTaskState.REQUESTED,
    )  # fmt: skip
    assert (before.flow_id, before.algorithm_version, before.rate_per_s) == (FLOW, "1.0.0", 2.5)
    assert (before.requested_position, before.requested_time) == (
        requested.position, requested.time,
    )  # fmt: skip
    assert before.ended_time is None
    assert log.catalog().open_dead_letter_tasks() == (before,)
    log.finish(task_id, succeeded=7, failed=2)
    after = task(log, task_id)
    assert (after.state, after.succeeded, after.failed) == (DeadLetterTaskState.FINISHED, 7, 2)
    assert after.ended_time == log.recorded[-1].time
    assert after.requested_position == requested.position
    assert log.catalog().open_dead_letter_tasks() == ()


def test_a_cancelled_task_goes_on_no_more(log: EventLog) -> None:
    task_id = log.purge(FLOW)
    log.cancel(task_id)
    assert task(log, task_id).state is DeadLetterTaskState.CANCELLED
    assert log.catalog().open_dead_letter_tasks() == ()


def test_the_tasks_of_a_flow_stand_in_the_order_in_which_they_were_asked_for(
    log: EventLog,
) -> None:
    other = log.subscribe("plant", "other", "acme/digits")
    first, second = log.redrive(FLOW, "first"), log.purge(FLOW, "second")
    elsewhere = log.purge(other, "elsewhere")
    log.finish(second)
    catalog = log.catalog()
    assert [one.dead_letter_task_id for one in catalog.dead_letter_tasks_of(FLOW)] == [
        first, second,
    ]  # fmt: skip
    assert [one.dead_letter_task_id for one in catalog.dead_letter_tasks()] == [
        first, second, elsewhere,
    ]  # fmt: skip
    assert [one.dead_letter_task_id for one in catalog.open_dead_letter_tasks()] == [
        first, elsewhere,
    ]  # fmt: skip


def test_what_ended_has_ended(log: EventLog) -> None:
    task_id = log.redrive(FLOW)
    log.cancel(task_id)
    ended = task(log, task_id)
    log.finish(task_id, succeeded=1)
    log.redrive(FLOW)
    log.finish(id_of("no task"))
    assert log.catalog().dead_letter_tasks() == (ended,)


def test_only_the_newest_ended_tasks_are_kept_and_every_open_one(
    monkeypatch: pytest.MonkeyPatch, log: EventLog
) -> None:
    monkeypatch.setattr(tasks, "ENDED_TASKS_KEPT_MAX", 3)
    going_on = log.redrive(FLOW, "going on")
    ended = [log.purge(FLOW, f"task {number}") for number in range(5)]
    for task_id in reversed(ended):
        log.finish(task_id)
    catalog = log.catalog()
    kept = {going_on, *ended[:3]}
    assert {one.dead_letter_task_id for one in catalog.dead_letter_tasks()} == kept
    assert {one.dead_letter_task_id for one in catalog.dead_letter_tasks_of(FLOW)} == kept
    again = Catalog.of(catalog.image())
    assert again.dead_letter_tasks() == catalog.dead_letter_tasks()
    assert again.dead_letter_task_forgotten_next() == catalog.dead_letter_task_forgotten_next()


def test_an_ending_touches_the_task_whose_room_it_takes(
    monkeypatch: pytest.MonkeyPatch, log: EventLog
) -> None:
    monkeypatch.setattr(tasks, "ENDED_TASKS_KEPT_MAX", 1)
    first, second = log.purge(FLOW, "first"), log.purge(FLOW, "second")
    log.finish(first)
    before = log.catalog()
    ending = log.add(second, DeadLetterTaskFinished(dead_letter_task_id=second))
    assert touched(before, ending) == (
        Touched(AggregateKind.DEAD_LETTER_TASK, second),
        Touched(AggregateKind.DEAD_LETTER_TASK, first),
    )
    assert log.catalog().dead_letter_task(first) is None
    again = log.add(second, DeadLetterTaskFinished(dead_letter_task_id=second))
    assert touched(log.catalog(), again) == (Touched(AggregateKind.DEAD_LETTER_TASK, second),)


# ---- snapshots -----------------------------------------------------------------------------------


def test_pauses_tasks_and_settings_survive_a_snapshot(log: EventLog) -> None:
    log.enable(FLOW, delivery=DeliverySettings(order=DeliveryOrder.NONE, parallelism=2))
    log.pause(FLOW, reason="why")
    log.redrive(FLOW, rate_per_s=0.5)
    log.finish(log.purge(FLOW), succeeded=3)
    catalog = log.catalog()
    restored = snapshot.restore(snapshot.dump(catalog))
    assert restored.flow(FLOW) == catalog.flow(FLOW)
    assert restored.dead_letter_tasks() == catalog.dead_letter_tasks()
    assert restored.dead_letter_tasks_of(FLOW) == catalog.dead_letter_tasks_of(FLOW)
    assert restored.open_dead_letter_tasks() == catalog.open_dead_letter_tasks()


def test_the_name_of_the_fold_tells_of_pauses_and_tasks() -> None:
    """So a snapshot of a build that did not know them is refused."""
    shape = columns.shape_of(CatalogImage)
    assert "Pause(drain: bool, reason: str, position: int, time: datetime)" in shape
    assert "DeadLetterTaskImage(" in shape
    assert "delivery: " in shape


def test_times_of_a_task_are_aware() -> None:
    log = EventLog()
    found = task(log, log.purge(FLOW))
    assert found.requested_time.tzinfo is UTC
    assert isinstance(found.requested_time, datetime)
