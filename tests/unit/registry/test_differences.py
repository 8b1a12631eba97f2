"""What differs between two moments, in the words of people, with the event that did it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from catalog import dead_letter_task_table, events
from catalog.catalog import Catalog
from catalog.events import ApiType, BrokerKind, Callability, SecretRef, SecurityProtocol
from catalog.kinds import AggregateKind
from catalog.touched import Touched
from registry.domain.delivery_words import of_selection
from registry.domain.descriptions import VALUE_LENGTH_MAX
from registry.domain.differences import Difference, Differences, naming_of

from tests.support.event_log import EventLog, flow_id_of, id_of

FLOW = "acme/digits ← orders on plant (subscriber)"


def everything(_one: Touched) -> bool:
    return True


def differences(
    log: EventLog, after: int, wanted: Callable[[Touched], bool] = everything
) -> list[Difference]:
    """What the events after a position made different."""
    before = Catalog()
    for recorded in log.recorded[:after]:
        before.apply(recorded)
    found = Differences(Catalog.of(before.image()), wanted=wanted)
    found.take(log.recorded[after:])
    return list(found.found(naming_of(found.catalog, before)))


def told(found: list[Difference]) -> list[tuple[str, str, str, str]]:
    return [(one.name, one.field, one.before, one.after) for one in found]


@pytest.fixture
def log() -> EventLog:
    """A granted flow that nobody enabled."""
    log = EventLog()
    log.account("acme")
    log.algorithm("acme/digits", "1.0.0")
    log.algorithm("acme/labels", "1.0.0")
    log.connection("plant", secured=True)
    log.grant("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    return log


@pytest.fixture
def now(log: EventLog) -> int:
    """The position up to which the log is only the ground of a test."""
    return len(log.recorded)


def connection_updated(log: EventLog, **changed: object) -> None:
    """The connection `plant` with other values."""
    known = log.catalog().connection(id_of("plant"))
    assert known is not None
    fields = {
        name: getattr(known, name)
        for name in (
            "connection_id", "name", "bootstrap_servers", "security_protocol", "sasl_mechanism",
            "ca_certificate", "credentials",
        )
    }  # fmt: skip
    log.add(id_of("plant"), events.ConnectionUpdated(**{**fields, **changed}))


# ---- fields --------------------------------------------------------------------------------------


def test_between_a_moment_and_itself_nothing_differs(log: EventLog, now: int) -> None:
    assert differences(log, now) == []


def test_a_setting_is_told_from_and_to_by_the_event_that_set_it(log: EventLog, now: int) -> None:
    flow_id = flow_id_of("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    log.enable(flow_id)
    at = len(log.recorded)
    log.enable(flow_id, "1.0.0")
    (found,) = differences(log, at)
    assert (found.kind, found.id, found.name) == (AggregateKind.FLOW, flow_id, FLOW)
    assert (found.field, found.before, found.after) == (
        "algorithm version", "newest published", "1.0.0",
    )  # fmt: skip
    cause, event = found.cause, log.recorded[-1]
    assert (cause.position, cause.time, cause.metadata) == (
        event.position, event.time, event.metadata,
    )  # fmt: skip
    assert cause.event_name == "flow.enabled.v1"


def test_enabling_a_granted_flow_for_the_first_time_tells_its_settings(
    log: EventLog, now: int
) -> None:
    log.enable(flow_id_of("plant", "orders", "acme/digits", ApiType.SUBSCRIBER), allow_cycle=True)
    assert told(differences(log, now)) == [
        (FLOW, "enabled", "no", "yes"),
        (FLOW, "algorithm version", "", "newest published"),
        (FLOW, "dead letter topic", "", "internal dead letters"),
        (FLOW, "runs at the same time", "", "router's default"),
        (FLOW, "cycle allowed", "", "yes"),
        (FLOW, "timeout", "", "runner's default"),
    ]


def test_disabling_tells_that_and_nothing_else(log: EventLog) -> None:
    flow_id = flow_id_of("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    log.enable(flow_id, "1.0.0")
    at = len(log.recorded)
    log.disable(flow_id)
    assert told(differences(log, at)) == [(FLOW, "enabled", "yes", "no")]


def test_what_went_there_and_back_does_not_differ(log: EventLog) -> None:
    flow_id = flow_id_of("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    log.enable(flow_id, "1.0.0")
    at = len(log.recorded)
    log.enable(flow_id, dead_letters="dead")
    log.disable(flow_id)
    log.enable(flow_id, "1.0.0")
    log.set_access("plant", "other", ("acme/labels", ApiType.PUBLISHER))
    log.set_access("plant", "other")
    assert [one.name for one in differences(log, at)] == ["other on plant"] * 3  # it exists now


def test_of_several_changes_of_a_field_the_last_is_told(log: EventLog) -> None:
    flow_id = flow_id_of("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    log.enable(flow_id)
    at = len(log.recorded)
    log.enable(flow_id, dead_letters="first")
    log.enable(flow_id, dead_letters="second")
    log.enable(flow_id, "1.0.0", dead_letters="second")
    found = {one.field: (one.after, one.cause.position) for one in differences(log, at)}
    assert found == {
        "dead letter topic": ("second", at + 2),
        "algorithm version": ("1.0.0", at + 3),
    }


def test_settings_of_delivery_are_told_where_they_are_not_the_default(
    log: EventLog, now: int
) -> None:
    flow_id = flow_id_of("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    log.enable(flow_id)
    at = len(log.recorded)
    rules = (
        events.RetryRule(
            failure=events.FailureClass.TIMED_OUT,
            error_type="Slow",
            attempts_max=4,
            age_max_s=60,
            delay_first_ms=250,
            delay_longest_ms=5000,
            factor=1.5,
            give_up=events.GiveUp.HALT_KEY,
        ),
        events.RetryRule(give_up=events.GiveUp.HALT_FLOW),
    )
    delivery = events.DeliverySettings(
        order=events.DeliveryOrder.PARTITION,
        parallelism=4,
        start=events.StartAt.LATEST,
        read_committed=True,
        retries=rules,
    )
    log.enable(flow_id, delivery=delivery)
    assert told(differences(log, at)) == [
        (FLOW, "order", "", "partition"),
        (FLOW, "instances", "", "4"),
        (FLOW, "start", "", "latest"),
        (FLOW, "committed transactions only", "", "yes"),
        (
            FLOW,
            "retry rule",
            "",
            "1. timed out (Slow), at most 4 attempts, for 60 s, first delay 250 ms, longest delay "
            "5000 ms, factor 1.5, then halt key",
        ),
        (FLOW, "retry rule", "", "2. every failure, then halt flow"),
    ]


def test_a_pause_is_told_with_its_reason(log: EventLog, now: int) -> None:
    flow_id = flow_id_of("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    log.enable(flow_id)
    at = len(log.recorded)
    log.pause(flow_id, drain=True, reason="maintenance")
    assert told(differences(log, at)) == [
        (FLOW, "paused", "", "yes, after draining"),
        (FLOW, "paused because", "", "maintenance"),
    ]
    log.resume(flow_id)
    assert told(differences(log, at)) == []


def test_a_task_is_told_from_its_request_to_its_end(log: EventLog, now: int) -> None:
    flow_id = flow_id_of("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    log.enable(flow_id)
    at = len(log.recorded)
    task_id = log.redrive(flow_id, rate_per_s=2.5, own_topic=True)
    name = f"redrive of {FLOW}"
    assert told(differences(log, at)) == [
        (name, "", "", "exists"),
        (name, "kind", "", "redrive"),
        (name, "flow", "", FLOW),
        (name, "dead letters", "", "all"),
        (name, "algorithm version", "", "the flow's"),
        (name, "records a second", "", "2.5"),
        (name, "in the flow's own topic", "", "yes"),
        (name, "state", "", "requested"),
    ]
    at = len(log.recorded)
    log.finish(task_id, succeeded=7, failed=1)
    assert told(differences(log, at)) == [
        (name, "state", "requested", "finished"),
        (name, "succeeded", "", "7"),
        (name, "failed", "", "1"),
    ]


def test_a_task_that_ended_and_went_for_newer_ones_is_told_as_gone(
    monkeypatch: pytest.MonkeyPatch, log: EventLog, now: int
) -> None:
    monkeypatch.setattr(dead_letter_task_table, "ENDED_TASKS_KEPT_MAX", 1)
    flow_id = flow_id_of("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    log.enable(flow_id)
    first = log.purge(flow_id, "first")
    at = len(log.recorded)
    log.finish(first)
    log.finish(log.purge(flow_id, "second"))
    found = [one for one in differences(log, at) if one.id == first]
    assert [(one.field, one.before, one.after) for one in found] == [("", "exists", "")]


def test_a_selection_is_told_whole() -> None:
    selection = events.DeadLetterSelection(
        since=datetime(2026, 1, 1, tzinfo=UTC),
        until=datetime(2026, 1, 2, tzinfo=UTC),
        failure=events.FailureClass.NO_ANSWER,
        error_type="Slow",
        record_key=b"line \xff",
        topic="orders",
        partitions=(0, 3),
        offset_first=4,
        offset_last=9,
        letter_ids=("2-17",),
    )
    assert of_selection(selection) == (
        "since 2026-01-01T00:00:00+00:00; before 2026-01-02T00:00:00+00:00; failure no answer; "
        "error type Slow; key line \\xff; topic orders; partitions 0, 3; offsets 4 to 9; "
        "letters 2-17"
    )


def test_what_a_connection_shows_and_is_called_is_told(log: EventLog, now: int) -> None:
    connection_updated(log, client_certificate="pem", group_prefix="acme.")
    assert told(differences(log, now)) == [
        ("plant", "client certificate", "", f"SHA-256 {sha256(b'pem').hexdigest()[:16]}"),
        ("plant", "prefix of consumer groups", "", "acme."),
    ]


@pytest.mark.parametrize("protocol", SecurityProtocol)
def test_every_protocol_has_a_name(log: EventLog, protocol: SecurityProtocol) -> None:
    connection_updated(log, security_protocol=protocol)
    differences(log, 0)


# ---- lists ---------------------------------------------------------------------------------------


def test_lists_are_told_by_their_entries(log: EventLog, now: int) -> None:
    log.set_access(
        "plant", "orders", ("acme/labels", ApiType.PUBLISHER), ("acme/digits", ApiType.DEAD_LETTER)
    )
    of_access = [one for one in differences(log, now) if one.kind is AggregateKind.TOPIC_ACCESS]
    assert sorted(told(of_access)) == sorted([
        ("orders on plant", "grant", "acme/digits as subscriber", ""),
        ("orders on plant", "grant", "", "acme/labels as publisher"),
        ("orders on plant", "grant", "", "acme/digits as dead letter"),
    ])  # fmt: skip


def test_the_order_of_a_list_is_no_difference(log: EventLog) -> None:
    both = ("acme/labels", ApiType.PUBLISHER), ("acme/digits", ApiType.SUBSCRIBER)
    log.set_access("plant", "orders", *both)
    at = len(log.recorded)
    log.set_access("plant", "orders", *reversed(both))
    assert differences(log, at) == []


def test_a_key_that_came_and_a_key_that_was_revoked(log: EventLog) -> None:
    old = log.key("acme", "old", sha256=b"1" * 32)
    at = len(log.recorded)
    log.key("acme", "new", sha256=b"2" * 32)
    log.add(id_of("acme"), events.ApiKeyRevoked(account_id=id_of("acme"), key_id=old))
    assert told(differences(log, at)) == [
        ("acme", "API key", "old (standard, sim1…xyz)", ""),
        ("acme", "API key", "", "new (standard, sim1…xyz)"),
    ]


def test_a_build_and_the_version_that_it_became(log: EventLog, now: int) -> None:
    log.build("acme/digits", "second", succeeded=True, log="x" * 100)
    log.add(
        id_of("acme/digits"),
        events.VersionPublished(
            algorithm_id=id_of("acme/digits"),
            version="2.0.0",
            build_id=id_of("second"),
            commit_sha="0123456789abcdef" * 2 + "01234567",
            callability=Callability.PUBLIC,
        ),
    )
    found = told(differences(log, now))
    assert [one[:3] for one in found] == [
        ("acme/digits", "build", ""),
        ("acme/digits", "version", ""),
    ]
    assert found[0][3].startswith("succeeded, commit ")
    assert found[1][3] == "2.0.0 (public, commit 0123456789ab)"


def test_servers_of_a_connection_are_entries(log: EventLog) -> None:
    connection_updated(log, bootstrap_servers=("one:9093", "two:9093"))
    at = len(log.recorded)
    connection_updated(log, bootstrap_servers=("two:9093", "three:9093"))
    assert told(differences(log, at)) == [
        ("plant", "bootstrap server", "one:9093", ""),
        ("plant", "bootstrap server", "", "three:9093"),
    ]


# ---- coming and going ----------------------------------------------------------------------------


def test_a_flow_that_came_by_a_grant_is_put_down_to_the_grant(log: EventLog, now: int) -> None:
    log.grant("plant", "orders", "acme/labels", ApiType.PUBLISHER)
    found = [one for one in differences(log, now) if one.kind is AggregateKind.FLOW]
    assert {one.name for one in found} == {"acme/labels → orders on plant (publisher)"}
    assert {one.cause.event_name for one in found} == {"topic_access.set.v1"}
    assert told(found)[0][1:] == ("", "", "exists")
    assert ("topic", "", "orders") in [one[1:] for one in told(found)]
    assert ("owner", "", "acme") in [one[1:] for one in told(found)]


def test_a_flow_that_went_with_its_grant_is_told_in_one_line(log: EventLog, now: int) -> None:
    log.set_access("plant", "orders")
    of_flow = [one for one in differences(log, now) if one.kind is AggregateKind.FLOW]
    assert told(of_flow) == [(FLOW, "", "exists", "")]
    assert of_flow[0].cause.event_name == "topic_access.set.v1"


def test_what_goes_with_a_deleted_connection_keeps_its_name(log: EventLog, now: int) -> None:
    log.delete_connection("plant")
    assert told(differences(log, now)) == [
        ("plant", "", "exists", ""),
        (FLOW, "", "exists", ""),
    ]


def test_what_came_and_went_in_between_does_not_differ(log: EventLog, now: int) -> None:
    log.connection("depot")
    log.grant("depot", "red", "acme/digits", ApiType.SUBSCRIBER)
    log.set_access("depot", "red")
    log.delete_connection("depot")
    assert [one.name for one in differences(log, now)] == ["red on depot"] * 3


def test_a_flow_that_went_and_came_back_without_its_settings(log: EventLog) -> None:
    flow_id = flow_id_of("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    log.enable(flow_id, "1.0.0")
    at = len(log.recorded)
    log.set_access("plant", "orders")
    log.delete(flow_id)
    log.grant("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    found = [one for one in differences(log, at) if one.kind is AggregateKind.FLOW]
    assert {(one.field, one.before, one.after) for one in found} == {
        ("enabled", "yes", "no"),
        ("algorithm version", "1.0.0", ""),
        ("dead letter topic", "internal dead letters", ""),
        ("runs at the same time", "router's default", ""),
        ("cycle allowed", "no", ""),
        ("timeout", "runner's default", ""),
    }


def test_a_name_that_changed_is_told_with_the_new_name(log: EventLog, now: int) -> None:
    connection_updated(log, name="factory")
    assert told(differences(log, now)) == [("factory", "name", "plant", "factory")]


def test_chains_and_listeners_have_names_of_their_own(log: EventLog, now: int) -> None:
    log.chain("acme/digits", "acme/labels")
    log.listener("acme/digits", "sb-queue", BrokerKind.SERVICE_BUS)
    assert sorted({one.name for one in differences(log, now)}) == [
        "acme/digits ← sb-queue (listener)",
        "acme/digits → acme/labels (chain)",
    ]


# ---- secrets -------------------------------------------------------------------------------------


def test_of_other_credentials_only_that_they_changed_is_told(log: EventLog, now: int) -> None:
    other = SecretRef(secret_id=id_of("other secret"), fingerprint=b"87654321")
    connection_updated(log, credentials=other)
    found = differences(log, now)
    assert told(found) == [("plant", "credentials", "set", "changed")]
    words = repr([replace(one, cause=one.cause) for one in found])
    assert "87654321" not in words
    assert other.secret_id not in words


def test_the_same_secret_entered_again_is_no_difference(log: EventLog, now: int) -> None:
    known = log.catalog().connection(id_of("plant"))
    assert known is not None
    assert known.credentials is not None
    connection_updated(log, credentials=replace(known.credentials, secret_id=id_of("again")))
    assert differences(log, now) == []


def test_shredded_credentials_are_not_set_any_more(log: EventLog, now: int) -> None:
    log.add(id_of("plant"), events.ConnectionCredentialsShredded(connection_id=id_of("plant")))
    assert told(differences(log, now)) == [("plant", "credentials", "set", "")]


def test_a_certificate_is_told_by_its_digest_and_long_text_is_cut(log: EventLog, now: int) -> None:
    certificate = "-----BEGIN CERTIFICATE-----\n" + "A" * 2_000
    connection_updated(
        log,
        ca_certificate=certificate,
        security_protocol=SecurityProtocol.SASL_SSL,
        bootstrap_servers=("h" * 2 * VALUE_LENGTH_MAX,),
    )
    found = {one.field: one.after for one in differences(log, now) if one.after}
    assert found["CA certificate"].startswith("SHA-256 ")
    assert len(found["CA certificate"]) < 40
    assert len(found["bootstrap server"]) == VALUE_LENGTH_MAX
    assert found["bootstrap server"].endswith("…")


# ---- what is of interest -------------------------------------------------------------------------


def test_only_what_is_wanted_is_told(log: EventLog, now: int) -> None:
    log.grant("plant", "orders", "acme/labels", ApiType.PUBLISHER)
    log.key("acme", "new", sha256=b"2" * 32)
    found = differences(log, now, lambda one: one.kind is AggregateKind.ACCOUNT)
    assert {one.kind for one in found} == {AggregateKind.ACCOUNT}
    found = differences(log, now, lambda one: one.id == id_of("nobody"))
    assert found == []


def test_changes_of_one_thing_stand_together_sorted_by_kind_and_name(
    log: EventLog, now: int
) -> None:
    log.connection("depot")
    log.algorithm("acme/zeros", "1.0.0")
    log.grant("plant", "orders", "acme/labels", ApiType.PUBLISHER)
    log.account("zebra")
    seen = list(dict.fromkeys((one.kind, one.name) for one in differences(log, now)))
    assert seen == sorted(seen)
    assert len(seen) == len({(one.kind, one.id) for one in differences(log, now)})
