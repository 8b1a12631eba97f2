"""Given events, when a flow is paused or resumed, then events or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from catalog.events import (
    BrokerKind,
    Channel,
    DeliverySettings,
    Event,
    FlowCreated,
    FlowDeleted,
    FlowDisabled,
    FlowEnabled,
    FlowKind,
    FlowPaused,
    FlowResumed,
)
from kernel.errors import InvalidInput, StateForbids, TooLarge
from registry.domain import flow
from registry.domain.flow import EnableFlow, PauseFlow, ResumeFlow

from tests.support.event_log import id_of

FLOW = id_of("flow")
WIRE = FlowCreated(
    flow_id=FLOW,
    kind=FlowKind.SUBSCRIBER,
    owner_id=id_of("acme"),
    algorithm_id=id_of("echo"),
    channel=Channel(broker=BrokerKind.KAFKA, connection_id=id_of("connection"), name="orders"),
)
ENABLED = FlowEnabled(flow_id=FLOW)
DISABLED = FlowDisabled(flow_id=FLOW)
DELETED = FlowDeleted(flow_id=FLOW)
PAUSE = PauseFlow(flow_id=FLOW, reason="maintenance")
PAUSED = FlowPaused(flow_id=FLOW, reason="maintenance")
RESUME = ResumeFlow(flow_id=FLOW)
RESUMED = FlowResumed(flow_id=FLOW)


def _decide(given: Sequence[Event], command: Any) -> Sequence[Event]:
    return flow.decider.decide(command, flow.decider.fold(given))


@pytest.mark.parametrize(
    ("given", "when", "then"),
    [
        ([WIRE, ENABLED], PAUSE, [PAUSED]),
        ([WIRE, ENABLED, PAUSED], PAUSE, []),
        ([WIRE, ENABLED, PAUSED], replace(PAUSE, drain=True), [replace(PAUSED, drain=True)]),
        ([WIRE, ENABLED, PAUSED], replace(PAUSE, reason=""), [replace(PAUSED, reason="")]),
        ([WIRE, ENABLED, PAUSED, RESUMED], PAUSE, [PAUSED]),
        ([WIRE, ENABLED, PAUSED], RESUME, [RESUMED]),
        ([WIRE, ENABLED], RESUME, [RESUMED]),
        ([WIRE, ENABLED, PAUSED, DISABLED], RESUME, [RESUMED]),
        ([WIRE, ENABLED, DISABLED], RESUME, []),
        ([], RESUME, []),
    ],
)
def test_a_command_becomes_events(given: list[Event], when: Any, then: list[Event]) -> None:
    assert _decide(given, when) == then


@pytest.mark.parametrize(
    ("given", "when", "sentence"),
    [
        ([], PAUSE, "enable it, then pause it"),
        ([WIRE, ENABLED, DISABLED], PAUSE, "enable it, then pause it"),
        ([WIRE, ENABLED, PAUSED, DISABLED], PAUSE, "enable it, then pause it"),
        ([WIRE, ENABLED, DELETED], PAUSE, "deleted for good"),
        ([WIRE, ENABLED, PAUSED, DELETED], RESUME, "deleted for good"),
    ],
)
def test_what_the_state_forbids_is_refused_with_what_to_do(
    given: list[Event], when: Any, sentence: str
) -> None:
    with pytest.raises(StateForbids, match=sentence):
        _decide(given, when)


def test_a_reason_is_one_line_of_bounded_length() -> None:
    with pytest.raises(InvalidInput, match="reason must be a single line"):
        _decide([WIRE, ENABLED], replace(PAUSE, reason="a\nb"))
    with pytest.raises(TooLarge, match="reason must have at most"):
        _decide([WIRE, ENABLED], replace(PAUSE, reason="x" * 1000))


def test_a_pause_outlives_disabling_and_enabling() -> None:
    given: list[Event] = [WIRE, ENABLED, PAUSED, DISABLED]
    assert _decide(given, EnableFlow(wire=WIRE)) == [ENABLED]
    assert _decide([*given, ENABLED], PAUSE) == [], "it is still paused, with these words"


def test_settings_of_delivery_that_say_nothing_are_as_if_they_were_absent() -> None:
    absent = EnableFlow(wire=WIRE)
    empty = EnableFlow(wire=WIRE, delivery=DeliverySettings())
    assert _decide([], absent) == _decide([], empty) == [WIRE, ENABLED]
    assert _decide([WIRE, ENABLED], empty) == []
    given = EnableFlow(wire=WIRE, delivery=DeliverySettings(parallelism=2))
    (enabled,) = _decide([WIRE, ENABLED], given)
    assert enabled == replace(ENABLED, delivery=DeliverySettings(parallelism=2))
    assert _decide([WIRE, ENABLED, enabled], absent) == [ENABLED], "and back to every default"
