"""Flows, dead letters and their tasks as documents and as tables, to the letter."""

from __future__ import annotations

from typing import Any

from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1 import events_pb2
from eventflows.router.v1 import router_pb2
from eventflows_cli.flow_shapes import of_flow, of_settings
from eventflows_cli.letter_shapes import of_letter, of_task, of_whole_letter
from eventflows_cli.views import flows, letters

from tests.unit.cli.documents import TIME, ZONE, drawn

NAME = "acme/digits ← images on plant"


def a_flow(*, enabled: bool = True, paused: bool = False) -> catalog_pb2.Flow:
    flow = catalog_pb2.Flow(flow_id="f-1", algorithm_id="al-1")
    settings = events_pb2.FlowEnabled(flow_id="f-1", concurrency_max=8)
    settings.delivery.order = events_pb2.DELIVERY_ORDER_PARTITION
    (flow.settings if enabled else flow.last_settings).CopyFrom(settings)
    if paused:
        flow.paused.drain, flow.paused.reason = True, "upkeep"
        flow.paused.time.FromDatetime(TIME)
    return flow


def a_status(**fields: Any) -> router_pb2.FlowStatus:
    status = router_pb2.FlowStatus(
        flow_id="f-1", state=router_pb2.FLOW_STATE_RUNNING, worker="router-0", lag_records=1200,
        lag_s=2.5, in_flight=3, settled_per_s=12.25, error_ratio=0.02, healthy=True,
    )  # fmt: skip
    status.since.FromDatetime(TIME)
    for name, value in fields.items():
        setattr(status, name, value)
    return status


def test_the_state_is_the_routers_word_where_it_says_one() -> None:
    for flow, status, state, reason in (
        (a_flow(), None, "enabled", ""),
        (a_flow(paused=True), None, "paused", "upkeep"),
        (a_flow(enabled=False, paused=True), a_status(), "disabled", "upkeep"),
        (a_flow(paused=True), a_status(reason="it ends what it began"), "running", "it ends what"),
    ):
        document = of_flow(flow, status, name=NAME)
        assert document["state"] == state
        assert document["reason"].startswith(reason)
    for flow, state in (
        (a_flow(), "unknown"),
        (a_flow(paused=True), "paused"),
        (a_flow(enabled=False), "disabled"),
    ):
        assert of_flow(flow, None, name=NAME, silent=True)["state"] == state
    unknown = of_flow(a_flow(), a_status(lag_records=-1, lag_s=-1.0), name=NAME)["live"]
    assert (unknown["lag_records"], unknown["lag_s"]) == (None, None)


def test_settings_are_also_those_of_before_it_was_disabled() -> None:
    for flow in (a_flow(), a_flow(enabled=False)):
        settings = of_settings(flow)
        assert settings is not None
        assert (settings["concurrency_max"], settings["delivery"]["order"]) == (8, "partition")
    assert of_settings(catalog_pb2.Flow(flow_id="f-1")) is None


def test_flows_are_listed_a_row_each() -> None:
    told = [
        of_flow(a_flow(), a_status(), name=NAME),
        of_flow(a_flow(), a_status(healthy=False, reason="no progress"), name=NAME),
        of_flow(a_flow(paused=True), None, name=NAME),
    ]
    rows = drawn(flows.flows({"flows": told}, ZONE)).splitlines()
    assert [row[31:] for row in rows if "─" not in row] == [
        "STATE                 LAG  IN FLIGHT  PER SECOND  WHY          ID",
        "running             1,200          3        12.2  -            f-1",
        "running, unhealthy  1,200          3        12.2  no progress  f-1",
        "paused                  -          -           -  upkeep       f-1",
    ]
    assert all(row.startswith(NAME) for row in rows[2:])


def test_a_flow_is_shown_with_all_figures_and_settings() -> None:
    document = {
        **of_flow(a_flow(paused=True), a_status(), name=NAME),
        "settings": of_settings(a_flow()), "unreachable_workers": ["router-1"],
    }  # fmt: skip
    shown = drawn(flows.flow(document, ZONE))
    for line in (
        "paused               since 2026-11-24 10:30:00.250 CET, what was received is finished: up",
        "since                2026-11-24 10:30:00.250 CET",
        "lag_records          1200",
        "settled_per_s        12.2",
        "healthy              yes",
        "timeout_s                default",
        "delivery.order           partition",
        "delivery.parallelism     default",
        "delivery.read_committed  no",
        "no answer from router-1: what they know of it lacks",
    ):
        assert line in shown, shown
    silent = {**of_flow(a_flow(), None, name=NAME), "settings": None, "unreachable_workers": []}
    assert "router  says nothing of it" in drawn(flows.flow(silent, ZONE))


def a_letter(*, key: bytes | None = b"k-1") -> router_pb2.DeadLetter:
    letter = router_pb2.DeadLetter(
        letter_id="0-7", letter_topic="dead-letters", flow_id="f-1", algorithm="acme/digits",
        algorithm_version="0.1.0", topic="images", partition=3, offset=41, value_bytes=3,
        reason="algorithm_error", error_type="ValueError", error="no digit\x1b[31m", attempts=2,
        request_id="r-1", state=router_pb2.DEAD_LETTER_STATE_OPEN,
    )  # fmt: skip
    if key is not None:
        letter.record_key, letter.has_key = key, True
    letter.given_up_time.FromDatetime(TIME)
    return letter


def test_an_id_stays_whole_on_a_narrow_terminal() -> None:
    flow_id = "ce007983-f927-5d6e-8377-726f591086a9"
    told = {**of_flow(a_flow(), a_status(reason="a" * 60), name=NAME), "id": flow_id}
    assert flow_id in drawn(flows.flows({"flows": [told]}, ZONE), width=80)


def test_dead_letters_are_listed_a_row_each() -> None:
    told = [of_letter(a_letter()), of_letter(a_letter(key=b"\xff")), of_letter(a_letter(key=None))]
    assert [one["record_key"] for one in told] == ["6b2d31", "ff", None]
    assert [one["record_key_text"] for one in told] == ["k-1", None, None]
    rows = drawn(letters.letters({"letters": told}, ZONE)).splitlines()
    assert rows[0].split() == [
        "ID", "GIVEN", "UP", "ALGORITHM", "SOURCE", "KEY", "REASON", "ATTEMPTS", "ERROR",
    ]  # fmt: skip
    assert "\x1b" not in "".join(rows)
    assert any("0xff" in row for row in rows)


def test_a_dead_letter_is_shown_whole() -> None:
    answer = router_pb2.GetDeadLetterResponse(
        letter=a_letter(), value=b'"7"', has_value=True,
        headers=[router_pb2.RecordHeader(name="trace", value=b"\xff")],
        history=[router_pb2.FailedAttempt(attempt=1, outcome="timed_out", error="slow")],
    )  # fmt: skip
    document = of_whole_letter(answer)
    assert (document["value"], document["value_text"]) == ("223722", '"7"')
    assert document["headers"] == [{"name": "trace", "value": "ff", "value_text": None}]
    shown = drawn(letters.letter(document, ZONE))
    for line in (
        "key                  k-1",
        "given_up_time        2026-11-24 10:30:00.250 CET",
        "trace   0xff",
        "1        -     timed_out  slow",
        'value\n"7"',
    ):
        assert line in shown, shown
    answer.has_value = False
    assert of_whole_letter(answer)["value"] is None
    assert document["truncated"] is False
    answer.truncated = True
    assert "truncated            yes" in drawn(letters.letter(of_whole_letter(answer), ZONE))


def test_a_task_is_the_routers_word_while_it_goes_on() -> None:
    task = catalog_pb2.DeadLetterTask(
        dead_letter_task_id="t-1", kind=catalog_pb2.DEAD_LETTER_TASK_KIND_REDRIVE, flow_id="f-1",
        state=catalog_pb2.DEAD_LETTER_TASK_STATE_REQUESTED,
    )  # fmt: skip
    task.requested_time.FromDatetime(TIME)
    progress = router_pb2.DeadLetterTaskProgress(state="working", succeeded=7, left=2500)
    working = of_task(task, progress)
    assert (working["state"], working["succeeded"], working["left"]) == ("working", 7, 2500)
    assert of_task(task, None)["state"] == "requested"
    task.state = catalog_pb2.DEAD_LETTER_TASK_STATE_FINISHED
    task.ended_time.FromDatetime(TIME)
    ended = of_task(task, progress)
    assert (ended["state"], ended["succeeded"], ended["left"]) == ("finished", 0, None)
    shown = drawn(letters.tasks({"tasks": [{**working, "flow_name": NAME}]}, ZONE))
    assert shown.splitlines()[-1].split()[:6] == [
        "2026-11-24", "10:30:00.250", "CET", "redrive", "acme/digits", "←",
    ]  # fmt: skip
    assert "2,500" in shown


def test_a_dry_run_that_ended_at_a_limit_says_that_there_may_be_more() -> None:
    whole = {"flow_id": "f-1", "letters": 1_200, "truncated": False}
    assert drawn(letters.count(whole)).split() == ["dead", "letters", "1,200"]
    assert "at least 1,200" in drawn(letters.count(whole | {"truncated": True}))


def test_a_redrive_of_an_own_topic_is_told_from_one_of_the_internal_topic() -> None:
    task = catalog_pb2.DeadLetterTask(
        dead_letter_task_id="t-1",
        kind=catalog_pb2.DEAD_LETTER_TASK_KIND_REDRIVE,
        state=catalog_pb2.DEAD_LETTER_TASK_STATE_REQUESTED,
        own_topic=True,
    )
    task.requested_time.GetCurrentTime()
    document = {"tasks": [{**of_task(task, None), "flow_name": "acme/digits"}]}
    assert "redrive, own topic" in drawn(letters.tasks(document, ZONE))
