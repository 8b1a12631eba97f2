"""Back to an earlier version of a stream: what is decided, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from catalog import events
from catalog.events import ApiType, BrokerKind, Event, SecretRef, TopicAccessSet
from catalog.kinds import AggregateKind
from kernel.errors import NotAllowed, StateForbids, TooLarge
from registry.domain.reverting import OF_KIND, REVOKED_MAX, Revert, command_to, reverting

from tests.support.event_log import EventLog, id_of


def decided(
    log: EventLog, kind: AggregateKind, stream_id: str, to_version: int, **fields: Any
) -> Sequence[Event]:
    """The events that a revert of a stream of the log appends."""
    stream = [one.event for one in log.recorded if one.stream_id == stream_id]
    aggregate = reverting(OF_KIND[kind])
    then = aggregate.decider.fold(stream[:to_version])
    saved = next((one for one in stream if isinstance(one, TopicAccessSet)), None)
    revert = Revert(then=then, command=command_to(then, saved), **fields)
    return aggregate.decider.decide(revert, aggregate.decider.fold(stream))


def created(name: str = "plant", **fields: Any) -> events.ConnectionCreated:
    given = {
        "connection_id": id_of("plant"),
        "name": name,
        "bootstrap_servers": ("kafka:9092",),
        "security_protocol": events.SecurityProtocol.SASL_SSL,
        "sasl_mechanism": "PLAIN",
        "credentials": SecretRef(secret_id=id_of("secret"), fingerprint=b"12345678"),
        **fields,
    }
    return events.ConnectionCreated(**given)


def updated(**fields: Any) -> events.ConnectionUpdated:
    known = created(**fields)
    return events.ConnectionUpdated(
        **{name: getattr(known, name) for name in events.ConnectionCreated.__slots__}
    )


def connection_log(*happened: Event) -> EventLog:
    log = EventLog()
    for event in (created(), *happened):
        log.add(id_of("plant"), event)
    return log


def flow_log() -> tuple[EventLog, str]:
    """A flow that was created, enabled with a version, changed, disabled."""
    log = EventLog()
    log.account("acme")
    log.algorithm("acme/digits", "1.0.0")
    log.connection("plant")
    flow_id = log.grant("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    log.enable(flow_id, "1.0.0", allow_cycle=True)
    log.enable(flow_id, dead_letters="dead")
    log.disable(flow_id)
    return log, flow_id


# ---- flows ---------------------------------------------------------------------------------------


def test_a_flow_gets_all_settings_of_then() -> None:
    log, flow_id = flow_log()
    expected = events.FlowEnabled(flow_id=flow_id, algorithm_version="1.0.0", allow_cycle=True)
    assert decided(log, AggregateKind.FLOW, flow_id, 2) == [expected]


def test_a_flow_that_was_not_enabled_then_is_disabled() -> None:
    log, flow_id = flow_log()
    log.enable(flow_id)
    disabled = [events.FlowDisabled(flow_id=flow_id)]
    assert decided(log, AggregateKind.FLOW, flow_id, 1) == disabled
    assert decided(log, AggregateKind.FLOW, flow_id, 4) == disabled


def test_what_is_so_already_needs_no_event_even_where_the_command_would_be_refused() -> None:
    log, flow_id = flow_log()
    refusal = NotAllowed("the grant is gone")
    assert decided(log, AggregateKind.FLOW, flow_id, 4, refusal=refusal) == []
    assert decided(log, AggregateKind.FLOW, flow_id, 1, refusal=refusal) == []
    log.enable(flow_id, dead_letters="dead")
    assert decided(log, AggregateKind.FLOW, flow_id, 3, refusal=refusal) == []


def test_what_other_aggregates_forbid_is_refused_with_their_reason() -> None:
    log, flow_id = flow_log()
    with pytest.raises(NotAllowed, match="the grant is gone"):
        decided(log, AggregateKind.FLOW, flow_id, 2, refusal=NotAllowed("the grant is gone"))


def test_a_deleted_listener_stays_deleted() -> None:
    log = EventLog()
    listener = log.listener("acme/digits", "queue", BrokerKind.SERVICE_BUS)
    log.delete(listener)
    with pytest.raises(StateForbids, match="this listener was deleted for good: create another"):
        decided(log, AggregateKind.FLOW, listener, 2)
    assert decided(log, AggregateKind.FLOW, listener, 3) == []


def test_a_listener_does_not_get_shredded_credentials_back() -> None:
    log = EventLog()
    listener = log.listener("acme/digits", "queue", BrokerKind.SERVICE_BUS)
    log.add(listener, events.FlowCredentialsShredded(flow_id=listener))
    with pytest.raises(StateForbids, match="shredded for good: delete it and create another"):
        decided(log, AggregateKind.FLOW, listener, 2)
    log.disable(listener)
    assert decided(log, AggregateKind.FLOW, listener, 3) == [
        events.FlowEnabled(flow_id=listener, algorithm_version="")
    ]


def test_settings_of_delivery_come_back_with_the_others() -> None:
    log, flow_id = flow_log()
    delivery = events.DeliverySettings(parallelism=3)
    log.enable(flow_id, delivery=delivery)
    log.enable(flow_id)
    expected = events.FlowEnabled(flow_id=flow_id, delivery=delivery)
    assert decided(log, AggregateKind.FLOW, flow_id, 5) == [expected]


def test_a_pause_is_no_setting_and_stays_as_it_is() -> None:
    log, flow_id = flow_log()
    log.enable(flow_id)
    log.pause(flow_id)
    assert decided(log, AggregateKind.FLOW, flow_id, 5) == [], "its settings are those of then"
    log.resume(flow_id)
    assert decided(log, AggregateKind.FLOW, flow_id, 6) == []
    log.pause(flow_id)
    assert decided(log, AggregateKind.FLOW, flow_id, 4) == [events.FlowDisabled(flow_id=flow_id)]


# ---- dead letter tasks ---------------------------------------------------------------------------


def test_what_a_task_did_stays() -> None:
    log = EventLog()
    task_id = log.redrive(id_of("flow"))
    log.cancel(task_id)
    with pytest.raises(StateForbids, match="stays so: cancel the task, or ask for another one"):
        decided(log, AggregateKind.DEAD_LETTER_TASK, task_id, 1)
    assert decided(log, AggregateKind.DEAD_LETTER_TASK, task_id, 2) == []


# ---- grants --------------------------------------------------------------------------------------


def test_the_grants_of_then_are_saved_again_in_their_order() -> None:
    log = EventLog()
    grants = [(f"acme/{name}", ApiType.SUBSCRIBER) for name in ("c", "a", "b")]
    log.set_access("plant", "orders", *grants)
    log.set_access("plant", "orders")
    (first, _) = log.recorded
    stream_id = first.stream_id
    assert decided(log, AggregateKind.TOPIC_ACCESS, stream_id, 1) == [first.event]
    log.set_access("plant", "orders", *reversed(grants))
    assert decided(log, AggregateKind.TOPIC_ACCESS, stream_id, 1) == []
    assert isinstance(first.event, TopicAccessSet)
    nothing = replace(first.event, grants=())
    assert decided(log, AggregateKind.TOPIC_ACCESS, stream_id, 2) == [nothing]


# ---- connections ---------------------------------------------------------------------------------


def test_a_connection_gets_all_values_of_then() -> None:
    other = SecretRef(secret_id=id_of("other"), fingerprint=b"87654321")
    log = connection_log(updated(name="factory", credentials=other))
    assert decided(log, AggregateKind.CONNECTION, id_of("plant"), 1) == [updated()]
    assert decided(log, AggregateKind.CONNECTION, id_of("plant"), 2) == []


def test_a_name_that_another_connection_may_have_taken_is_claimed_again() -> None:
    log = connection_log(updated(name="factory"))
    aggregate = reverting(OF_KIND[AggregateKind.CONNECTION])
    state = aggregate.decider.fold([one.event for one in log.recorded])
    claims = aggregate.claims(state, decided(log, AggregateKind.CONNECTION, id_of("plant"), 1))
    assert claims.added == ("connection/name/plant",)
    assert claims.released == ("connection/name/factory",)


def test_a_deleted_connection_stays_deleted() -> None:
    log = connection_log(events.ConnectionDeleted(connection_id=id_of("plant")))
    with pytest.raises(StateForbids, match="this connection was deleted for good"):
        decided(log, AggregateKind.CONNECTION, id_of("plant"), 1)
    assert decided(log, AggregateKind.CONNECTION, id_of("plant"), 2) == []


def test_a_connection_does_not_go_back_to_having_no_credentials() -> None:
    shredded = events.ConnectionCredentialsShredded(connection_id=id_of("plant"))
    log = connection_log(shredded, updated())
    with pytest.raises(StateForbids, match="had no credentials, they had been shredded"):
        decided(log, AggregateKind.CONNECTION, id_of("plant"), 2)


def test_a_connection_that_needed_no_credentials_goes_back_to_none() -> None:
    plain = updated(
        security_protocol=events.SecurityProtocol.SSL, sasl_mechanism="", credentials=None
    )
    log = connection_log(plain, updated(group_prefix="acme."))
    assert decided(log, AggregateKind.CONNECTION, id_of("plant"), 2) == [plain]


def test_credentials_that_were_shredded_are_named_so_that_the_vault_may_refuse() -> None:
    log = connection_log(events.ConnectionCredentialsShredded(connection_id=id_of("plant")))
    assert decided(log, AggregateKind.CONNECTION, id_of("plant"), 1) == [updated()]


# ---- accounts and algorithms ---------------------------------------------------------------------


def account_log(*labels: str) -> tuple[EventLog, list[str]]:
    log = EventLog()
    log.account("acme")
    return log, [log.key("acme", label, sha256=label.encode().ljust(32)) for label in labels]


def test_keys_that_came_since_are_revoked_in_their_order() -> None:
    log, (_, *newer) = account_log("first", "second", "third")
    account_id = id_of("acme")
    assert decided(log, AggregateKind.ACCOUNT, account_id, 2) == [
        events.ApiKeyRevoked(account_id=account_id, key_id=key_id) for key_id in newer
    ]
    assert decided(log, AggregateKind.ACCOUNT, account_id, 4) == []


def test_a_revoked_key_does_not_come_back() -> None:
    log, (key_id,) = account_log("deploy")
    log.add(id_of("acme"), events.ApiKeyRevoked(account_id=id_of("acme"), key_id=key_id))
    with pytest.raises(StateForbids, match=r"revoked API key does not come back \(deploy\)"):
        decided(log, AggregateKind.ACCOUNT, id_of("acme"), 2)
    assert decided(log, AggregateKind.ACCOUNT, id_of("acme"), 1) == []


def test_so_many_keys_as_a_command_can_take_are_revoked_and_no_more() -> None:
    log, _ = account_log(*(f"key {number}" for number in range(REVOKED_MAX)))
    assert len(decided(log, AggregateKind.ACCOUNT, id_of("acme"), 1)) == REVOKED_MAX
    log.key("acme", "one more", sha256=b"m" * 32)
    with pytest.raises(TooLarge, match="go back in steps"):
        decided(log, AggregateKind.ACCOUNT, id_of("acme"), 1)


def test_builds_and_versions_stay() -> None:
    log = EventLog()
    log.algorithm("acme/digits", "1.0.0", "2.0.0")
    with pytest.raises(StateForbids, match="builds and published versions of an algorithm stay"):
        decided(log, AggregateKind.ALGORITHM, id_of("acme/digits"), 3)
    assert decided(log, AggregateKind.ALGORITHM, id_of("acme/digits"), 5) == []


# ---- the whole -----------------------------------------------------------------------------------


def test_every_kind_can_be_asked_for() -> None:
    assert set(OF_KIND) == set(AggregateKind) - {AggregateKind.UNSPECIFIED}
    for kind, aggregate in OF_KIND.items():
        assert aggregate.category == kind.name.lower()
