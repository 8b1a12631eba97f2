"""Given events, when a command, then events or a refusal: flows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from catalog.events import (
    BrokerKind,
    Channel,
    Event,
    FlowCreated,
    FlowCredentialsShredded,
    FlowDeleted,
    FlowDisabled,
    FlowEnabled,
    FlowKind,
    SecretRef,
)
from kernel.errors import AlreadyExists, InvalidInput, NotFound, StateForbids
from registry.domain import flow
from registry.domain.flow import CreateListener, DeleteListener, DisableFlow, EnableFlow

from tests.support.event_log import id_of

FLOW = id_of("flow")
WIRE = FlowCreated(
    flow_id=FLOW,
    kind=FlowKind.SUBSCRIBER,
    owner_id=id_of("acme"),
    algorithm_id=id_of("echo"),
    channel=Channel(broker=BrokerKind.KAFKA, connection_id=id_of("connection"), name="orders"),
)
ENABLE = EnableFlow(wire=WIRE, algorithm_version="1.0.0")
ENABLED = FlowEnabled(flow_id=FLOW, algorithm_version="1.0.0")
DISABLE = DisableFlow(flow_id=FLOW)
DISABLED = FlowDisabled(flow_id=FLOW)

QUEUE = Channel(
    broker=BrokerKind.SQS,
    name="https://sqs.us-west-2.amazonaws.com/111122223333/q1",
    role_arn="arn:aws:iam::111122223333:role/reader",
)
LISTEN = CreateListener(
    flow_id=FLOW, owner_id=id_of("acme"), algorithm_id=id_of("echo"), channel=QUEUE
)
LISTENER = replace(WIRE, channel=QUEUE)
LISTENING = FlowEnabled(flow_id=FLOW, timeout_s=420)
DELETE = DeleteListener(flow_id=FLOW)
DELETED = FlowDeleted(flow_id=FLOW)
SECRET = SecretRef(secret_id=id_of("secret"), fingerprint=b"12345678")
BUS = Channel(broker=BrokerKind.SERVICE_BUS, name="orders", credentials=SECRET)


def _decide(given: Sequence[Event], command: Any) -> Sequence[Event]:
    return flow.decider.decide(command, flow.decider.fold(given))


@pytest.mark.parametrize(
    ("given", "when", "then"),
    [
        ([], ENABLE, [WIRE, ENABLED]),
        ([WIRE, ENABLED], ENABLE, []),
        (
            [WIRE, ENABLED],
            replace(ENABLE, timeout_s=60),
            [replace(ENABLED, timeout_s=60)],
        ),
        ([WIRE, ENABLED], DISABLE, [DISABLED]),
        ([WIRE, ENABLED, DISABLED], DISABLE, []),
        ([WIRE, ENABLED, DISABLED], ENABLE, [ENABLED]),
        ([], DISABLE, []),
        ([], LISTEN, [LISTENER, LISTENING]),
        ([LISTENER, LISTENING], LISTEN, []),
        ([LISTENER, LISTENING], DISABLE, [DISABLED]),
        ([LISTENER, LISTENING], DELETE, [DELETED]),
        ([LISTENER, LISTENING, DISABLED], DELETE, [DELETED]),
        ([LISTENER, LISTENING, DELETED], DELETE, []),
        ([LISTENER, LISTENING, DELETED], DISABLE, []),
    ],
)
def test_a_command_becomes_events_once(given: list[Event], when: Any, then: list[Event]) -> None:
    assert _decide(given, when) == then


@pytest.mark.parametrize(
    ("given", "when", "error"),
    [
        ([], DELETE, NotFound),
        ([WIRE, ENABLED], DELETE, StateForbids),
        ([LISTENER, LISTENING, DELETED], LISTEN, StateForbids),
        ([LISTENER, LISTENING, DELETED], replace(ENABLE, wire=LISTENER), StateForbids),
        ([LISTENER, LISTENING], replace(LISTEN, timeout_s=5), AlreadyExists),
        ([WIRE, ENABLED], LISTEN, AlreadyExists),
        ([], replace(ENABLE, algorithm_version="latest"), InvalidInput),
        ([], replace(ENABLE, timeout_s=3001), InvalidInput),
        ([], replace(ENABLE, timeout_s=-1), InvalidInput),
        ([], replace(ENABLE, concurrency_max=1001), InvalidInput),
        ([], replace(ENABLE, dead_letter_topic="orders"), InvalidInput),
        ([], replace(ENABLE, dead_letter_topic="a b"), InvalidInput),
        ([], replace(ENABLE, wire=LISTENER, dead_letter_topic="dead"), InvalidInput),
        ([], replace(LISTEN, channel=replace(QUEUE, role_arn="")), InvalidInput),
        ([], replace(LISTEN, channel=replace(QUEUE, name="q1")), InvalidInput),
        ([], replace(LISTEN, channel=replace(QUEUE, credentials=SECRET)), InvalidInput),
        ([], replace(LISTEN, channel=replace(BUS, credentials=None)), InvalidInput),
        ([], replace(LISTEN, channel=replace(BUS, name="-")), InvalidInput),
        ([], replace(LISTEN, channel=replace(BUS, role_arn=QUEUE.role_arn)), InvalidInput),
        ([], replace(LISTEN, channel=replace(QUEUE, broker=BrokerKind.KAFKA)), InvalidInput),
    ],
)
def test_what_the_state_or_the_values_forbid_is_refused(
    given: list[Event], when: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        _decide(given, when)


def test_the_same_listener_again_differs_in_the_secrets_id_only() -> None:
    command = replace(LISTEN, channel=BUS)
    given = _decide([], command)
    again = replace(BUS, credentials=replace(SECRET, secret_id=id_of("another id")))
    assert _decide(given, replace(command, channel=again)) == []
    other = replace(BUS, credentials=replace(SECRET, fingerprint=b"87654321"))
    with pytest.raises(AlreadyExists):
        _decide(given, replace(command, channel=other))


def test_a_flow_has_no_name_to_claim() -> None:
    assert flow.claims(None, [WIRE, ENABLED]).added == ()


SHRED = flow.ShredCredentials(flow_id=FLOW)
SHREDDED = FlowCredentialsShredded(flow_id=FLOW)
BUS_LISTENER = replace(WIRE, channel=BUS)


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ([BUS_LISTENER, LISTENING], [SHREDDED]),
        ([BUS_LISTENER, LISTENING, SHREDDED], []),
        ([BUS_LISTENER, LISTENING, DELETED], []),
        ([LISTENER, LISTENING], []),
    ],
)
def test_a_listeners_secret_is_shredded_once(given: list[Event], then: list[Event]) -> None:
    assert _decide(given, SHRED) == then


@pytest.mark.parametrize(("given", "error"), [([], NotFound), ([WIRE, ENABLED], StateForbids)])
def test_what_has_no_secret_of_its_own_has_none_to_shred(
    given: list[Event], error: type[Exception]
) -> None:
    with pytest.raises(error):
        _decide(given, SHRED)
