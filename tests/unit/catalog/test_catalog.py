"""What the read model answers after which events."""

import tracemalloc

import pytest
from catalog.algorithm_table import BUILD_LOGS_KEPT_MAX
from catalog.catalog import Catalog
from catalog.codec import recorded_from_message, recorded_to_message
from catalog.errors import PositionGap
from catalog.events import (
    AccountCreated,
    AccountKind,
    ApiKeyRevoked,
    ApiType,
    BrokerKind,
    Event,
    FlowDisabled,
    FlowEnabled,
    FlowKind,
)
from catalog.records import FLOW_CHANGES_KEPT_MAX, Flow
from eventflows.events.v1 import events_pb2

from tests.support.event_log import START, EventLog, flow_id_of, id_of

SHA_A, SHA_B = b"a" * 32, b"b" * 32
DIGITS, LABELS = "acme/digits", "acme/labels"
SUBSCRIBER, PUBLISHER = ApiType.SUBSCRIBER, ApiType.PUBLISHER


@pytest.fixture
def log() -> EventLog:
    """acme with two published algorithms, and a Kafka cluster named plant."""
    log = EventLog()
    log.account("acme")
    log.algorithm(DIGITS, "0.1.0")
    log.algorithm(LABELS, "0.1.0")
    log.connection("plant")
    return log


def flow(catalog: Catalog, flow_id: str) -> Flow:
    found = catalog.flow(flow_id)
    assert found is not None
    return found


# ---- positions -----------------------------------------------------------------------------------


def test_a_new_catalog_is_empty_at_position_0() -> None:
    catalog = Catalog()
    assert (catalog.position, catalog.accounts(), catalog.flows()) == (0, (), ())


def test_every_event_raises_the_position_by_one(log: EventLog) -> None:
    assert log.catalog().position == len(log.recorded)


@pytest.mark.parametrize("index", [0, 1, 3])
def test_an_event_out_of_its_turn_is_refused_and_changes_nothing(index: int) -> None:
    log = EventLog()
    for name in ("one", "two", "three", "four"):
        log.account(name)
    catalog = Catalog()
    catalog.apply(log.recorded[0])
    catalog.apply(log.recorded[1])
    with pytest.raises(PositionGap, match="after position 2"):
        catalog.apply(log.recorded[index])
    assert catalog.position == 2
    assert [account.username for account in catalog.accounts()] == ["one", "two"]


# ---- accounts ------------------------------------------------------------------------------------


def test_an_account_is_found_by_id_and_by_name(log: EventLog) -> None:
    account = log.catalog().account(id_of("acme"))
    assert account is not None
    assert log.catalog().account_named("acme") == account
    assert (account.email, account.kind) == ("acme@example.test", AccountKind.ORGANIZATION)
    assert (account.position, account.stream_version) == (1, 1)
    assert (account.created_time - START).total_seconds() == 1


def test_nobody_is_found_by_an_unknown_id_or_name(log: EventLog) -> None:
    catalog = log.catalog()
    assert catalog.account("") is None
    assert catalog.account_named("") is None
    assert catalog.account_named("ACME") is None


def test_a_key_leads_to_its_account(log: EventLog) -> None:
    key_id = log.key("acme", "default-key", sha256=SHA_A)
    found = log.catalog().key_owner(SHA_A)
    assert found is not None
    account, key = found
    assert (account.username, key.key_id, key.label) == ("acme", key_id, "default-key")
    assert account.keys == (key,)
    assert account.stream_version == 2


def test_a_revoked_key_leads_nowhere_and_the_others_still_do(log: EventLog) -> None:
    revoked = log.key("acme", "first", sha256=SHA_A)
    log.key("acme", "second", sha256=SHA_B)
    log.add(id_of("acme"), ApiKeyRevoked(account_id=id_of("acme"), key_id=revoked))
    catalog = log.catalog()
    assert catalog.key_owner(SHA_A) is None
    found = catalog.key_owner(SHA_B)
    assert found is not None
    assert [key.label for key in found[0].keys] == ["second"]
    assert found[0].stream_version == 4


def test_a_keys_account_is_the_newest_record(log: EventLog) -> None:
    log.key("acme", "first", sha256=SHA_A)
    log.key("acme", "second", sha256=SHA_B)
    catalog = log.catalog()
    found = catalog.key_owner(SHA_A)
    assert found is not None
    assert found[0] is catalog.account(id_of("acme"))


# ---- algorithms ----------------------------------------------------------------------------------


def test_an_algorithm_is_found_by_id_by_name_and_by_owner(log: EventLog) -> None:
    catalog = log.catalog()
    digits = catalog.algorithm(id_of(DIGITS))
    assert digits is not None
    assert digits.full_name == DIGITS
    assert catalog.algorithm_named("acme", "digits") is digits
    assert catalog.algorithms_of(id_of("acme"))[0] is digits
    assert catalog.algorithms_of(id_of("nobody")) == ()
    assert catalog.algorithm_named("acme", "nothing") is None


def test_builds_and_versions_stand_newest_last(log: EventLog) -> None:
    log.publish(DIGITS, "0.2.0")
    log.build(DIGITS, "broken", succeeded=False)
    digits = log.catalog().algorithm(id_of(DIGITS))
    assert digits is not None
    assert [version.version for version in digits.versions] == ["0.1.0", "0.2.0"]
    assert [build.succeeded for build in digits.builds] == [True, True, False]
    assert digits.versions[1].build_id == digits.builds[1].build_id
    assert digits.stream_version == 6
    assert digits.position == len(log.recorded)


def test_only_the_newest_builds_keep_their_log(log: EventLog) -> None:
    for number in range(BUILD_LOGS_KEPT_MAX + 3):
        log.build(LABELS, f"build {number}", log=f"log {number}")
    labels = log.catalog().algorithm(id_of(LABELS))
    assert labels is not None
    kept = [build.log_tail for build in labels.builds if build.log_tail]
    assert kept == [f"log {number}" for number in range(3, BUILD_LOGS_KEPT_MAX + 3)]
    assert len(labels.builds) == BUILD_LOGS_KEPT_MAX + 4


# ---- connections and grants ----------------------------------------------------------------------


def test_a_deleted_connection_is_gone_but_its_name_is_remembered(log: EventLog) -> None:
    log.connection("office")
    log.delete_connection("plant")
    catalog = log.catalog()
    assert [connection.name for connection in catalog.connections()] == ["office"]
    assert catalog.connection(id_of("plant")) is None
    assert catalog.deleted_connection_name(id_of("plant")) == "plant"
    assert catalog.deleted_connection_name(id_of("office")) is None


def test_saving_a_topic_replaces_all_its_grants(log: EventLog) -> None:
    log.set_access("plant", "images", (DIGITS, SUBSCRIBER), (DIGITS, PUBLISHER))
    log.set_access("plant", "images", (LABELS, SUBSCRIBER), (DIGITS, PUBLISHER))
    catalog = log.catalog()
    access = catalog.topic_access(id_of("plant"), "images")
    assert access is not None
    assert [(grant.algorithm_id, grant.api_type) for grant in access.grants] == [
        (id_of(LABELS), SUBSCRIBER),
        (id_of(DIGITS), PUBLISHER),
    ]
    assert access.stream_version == 2

    def granted(name: str, api_type: ApiType) -> bool:
        return catalog.is_granted(
            connection_id=id_of("plant"),
            topic="images",
            algorithm_id=id_of(name),
            api_type=api_type,
        )

    assert granted(LABELS, SUBSCRIBER)
    assert granted(DIGITS, PUBLISHER)
    assert not granted(DIGITS, SUBSCRIBER)


def test_a_topic_that_grants_nothing_is_not_listed_but_keeps_its_version(log: EventLog) -> None:
    log.set_access("plant", "labels", (DIGITS, PUBLISHER))
    log.set_access("plant", "images", (DIGITS, SUBSCRIBER))
    log.set_access("plant", "labels")
    catalog = log.catalog()
    assert [access.topic for access in catalog.topics_with_access(id_of("plant"))] == ["images"]
    emptied = catalog.topic_access(id_of("plant"), "labels")
    assert emptied is not None
    assert emptied.stream_version == 2
    assert catalog.topic_access(id_of("plant"), "never saved") is None


def test_a_deleted_connection_has_no_topics(log: EventLog) -> None:
    log.set_access("plant", "images", (DIGITS, SUBSCRIBER))
    log.delete_connection("plant")
    assert log.catalog().topics_with_access(id_of("plant")) == ()


# ---- flows and their grants ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api_type", "kind"), [(SUBSCRIBER, FlowKind.SUBSCRIBER), (PUBLISHER, FlowKind.PUBLISHER)]
)
def test_a_flow_exists_from_its_grant_on(log: EventLog, api_type: ApiType, kind: FlowKind) -> None:
    flow_id = log.grant("plant", "images", DIGITS, api_type)
    catalog = log.catalog()
    found = flow(catalog, flow_id)
    assert found.flow_id == flow_id == flow_id_of("plant", "images", DIGITS, api_type)
    assert (found.kind, found.api_type) == (kind, api_type)
    assert (found.owner_id, found.algorithm_id) == (id_of("acme"), id_of(DIGITS))
    assert found.channel is not None
    assert found.channel.broker is BrokerKind.KAFKA
    assert (found.channel.connection_id, found.channel.name) == (id_of("plant"), "images")
    assert (found.settings, found.last_settings, found.enabled_time) == (None, None, None)
    assert (found.stream_version, found.created_position, found.enabled_position) == (0, 0, 0)
    assert catalog.flows() == catalog.flows_of_algorithm(id_of(DIGITS)) == (found,)


def test_a_dead_letter_grant_makes_no_flow(log: EventLog) -> None:
    log.grant("plant", "failed", DIGITS, ApiType.DEAD_LETTER)
    assert log.catalog().flows() == ()


def test_the_same_grant_twice_makes_one_flow(log: EventLog) -> None:
    log.set_access("plant", "images", (DIGITS, SUBSCRIBER), (DIGITS, SUBSCRIBER))
    assert len(log.catalog().flows()) == 1


def test_a_grant_on_a_deleted_connection_makes_no_flow(log: EventLog) -> None:
    log.delete_connection("plant")
    log.grant("plant", "images", DIGITS, SUBSCRIBER)
    assert log.catalog().flows() == ()


def test_a_flow_that_nobody_created_goes_with_its_grant(log: EventLog) -> None:
    log.set_access("plant", "images", (DIGITS, SUBSCRIBER), (LABELS, SUBSCRIBER))
    log.set_access("plant", "images", (LABELS, SUBSCRIBER))
    catalog = log.catalog()
    assert [found.algorithm_id for found in catalog.flows()] == [id_of(LABELS)]
    assert catalog.flows_of_algorithm(id_of(DIGITS)) == ()


def test_a_flow_that_nobody_created_goes_with_its_connection(log: EventLog) -> None:
    granted = log.grant("plant", "images", DIGITS, SUBSCRIBER)
    created = log.subscribe("plant", "images", LABELS)
    log.delete_connection("plant")
    catalog = log.catalog()
    assert catalog.flow(granted) is None
    assert catalog.flow(created) is not None


def test_a_created_flow_outlives_its_grant_with_its_settings(log: EventLog) -> None:
    flow_id = log.subscribe("plant", "images", DIGITS)
    log.set_access("plant", "images")
    found = flow(log.catalog(), flow_id)
    assert found.settings is not None


def test_a_grant_given_back_finds_the_created_flow_as_it_was(log: EventLog) -> None:
    flow_id = log.subscribe("plant", "images", DIGITS)
    before = flow(log.catalog(), flow_id)
    log.set_access("plant", "images")
    log.set_access("plant", "images", (DIGITS, SUBSCRIBER))
    assert flow(log.catalog(), flow_id) == before


def test_creation_merges_with_the_flow_of_the_grant(log: EventLog) -> None:
    flow_id = log.grant("plant", "images", DIGITS, SUBSCRIBER)
    before = flow(log.catalog(), flow_id)
    log.create_flow(flow_id)
    catalog = log.catalog()
    after = flow(catalog, flow_id)
    assert len(catalog.flows()) == 1
    assert (after.channel, after.owner_id) == (before.channel, before.owner_id)
    assert (after.stream_version, after.created_position) == (1, len(log.recorded))


# ---- flows and their own events ------------------------------------------------------------------


def test_an_enabled_flow_has_settings_a_position_and_a_time(log: EventLog) -> None:
    flow_id = log.grant("plant", "images", DIGITS, SUBSCRIBER)
    log.enable(flow_id, "0.1.0", dead_letters="failed")
    catalog = log.catalog()
    found = flow(catalog, flow_id)
    position = len(log.recorded)
    assert found.settings == FlowEnabled(
        flow_id=flow_id, algorithm_version="0.1.0", dead_letter_topic="failed"
    )
    assert found.last_settings is found.settings
    assert (found.enabled_position, found.created_position) == (position, position - 1)
    assert found.enabled_time == log.recorded[-1].time
    assert found.stream_version == 2
    assert catalog.enabled_flow_ids() == (flow_id,)


def test_new_settings_leave_the_place_of_enabling_as_it_was(log: EventLog) -> None:
    flow_id = log.subscribe("plant", "images", DIGITS)
    before = flow(log.catalog(), flow_id)
    log.enable(flow_id, "0.1.0")
    after = flow(log.catalog(), flow_id)
    assert after.settings is not None
    assert after.settings.algorithm_version == "0.1.0"
    assert after.enabled_position == before.enabled_position
    assert after.enabled_time == before.enabled_time
    assert after.stream_version == before.stream_version + 1
    assert after.position == len(log.recorded)


def test_a_disabled_flow_remembers_its_last_settings(log: EventLog) -> None:
    flow_id = log.grant("plant", "images", DIGITS, SUBSCRIBER)
    log.enable(flow_id, "0.1.0")
    log.disable(flow_id)
    catalog = log.catalog()
    found = flow(catalog, flow_id)
    assert found.settings is None
    assert found.last_settings is not None
    assert found.last_settings.algorithm_version == "0.1.0"
    assert (found.enabled_position, found.enabled_time) == (0, None)
    assert catalog.enabled_flow_ids() == ()


def test_a_flow_remembers_what_it_asked_for_and_when(log: EventLog) -> None:
    flow_id = log.grant("plant", "images", DIGITS, SUBSCRIBER)
    log.enable(flow_id, "0.1.0")
    first = len(log.recorded)
    log.enable(flow_id, "0.1.0")  # nothing that a completion could be judged by
    log.enable(flow_id, "0.2.0")
    log.disable(flow_id)
    assert flow(log.catalog(), flow_id).changes == (
        (first, "0.1.0"),
        (first + 2, "0.2.0"),
        (first + 3, None),
    )


def test_only_the_newest_changes_of_a_flow_are_kept(log: EventLog) -> None:
    flow_id = log.grant("plant", "images", DIGITS, SUBSCRIBER)
    for number in range(FLOW_CHANGES_KEPT_MAX + 5):
        log.enable(flow_id, f"0.{number}.0")
    kept = flow(log.catalog(), flow_id).changes
    assert len(kept) == FLOW_CHANGES_KEPT_MAX
    assert kept[-1].version == f"0.{FLOW_CHANGES_KEPT_MAX + 4}.0"


def test_enabling_again_is_a_new_place(log: EventLog) -> None:
    flow_id = log.subscribe("plant", "images", DIGITS)
    log.disable(flow_id)
    log.enable(flow_id)
    assert flow(log.catalog(), flow_id).enabled_position == len(log.recorded)


def test_enabled_flows_are_listed_in_the_order_of_enabling(log: EventLog) -> None:
    first = log.subscribe("plant", "images", DIGITS)
    second = log.subscribe("plant", "images", LABELS)
    third = log.publish_to("plant", "labels", LABELS)
    log.enable(first, "0.1.0")
    assert log.catalog().enabled_flow_ids() == (first, second, third)
    log.disable(first)
    log.enable(first)
    assert log.catalog().enabled_flow_ids() == (second, third, first)


def test_an_algorithm_is_followed_while_a_publisher_or_chain_flow_is_enabled(
    log: EventLog,
) -> None:
    log.subscribe("plant", "images", DIGITS)
    assert not log.catalog().is_followed(id_of(DIGITS))
    published = log.publish_to("plant", "labels", DIGITS)
    chained = log.chain(DIGITS, LABELS)
    assert log.catalog().is_followed(id_of(DIGITS))
    log.disable(published)
    assert log.catalog().is_followed(id_of(DIGITS))
    log.disable(chained)
    assert not log.catalog().is_followed(id_of(DIGITS))


def test_a_blocked_publisher_flow_still_follows(log: EventLog) -> None:
    log.publish_to("plant", "labels", DIGITS)
    log.set_access("plant", "labels")
    assert log.catalog().is_followed(id_of(DIGITS))


def test_a_chain_flow_belongs_to_both_of_its_algorithms(log: EventLog) -> None:
    flow_id = log.chain(DIGITS, LABELS)
    catalog = log.catalog()
    found = flow(catalog, flow_id)
    assert found.channel is None
    assert catalog.flows_of_algorithm(id_of(DIGITS)) == (found,)
    assert catalog.flows_of_algorithm(id_of(LABELS)) == (found,)
    assert catalog.enabled_followers(id_of(DIGITS)) == (found,)
    assert catalog.enabled_followers(id_of(LABELS)) == ()


def test_readers_of_a_topic_are_its_enabled_subscriber_flows(log: EventLog) -> None:
    first = log.subscribe("plant", "images", DIGITS)
    second = log.subscribe("plant", "images", LABELS)
    log.publish_to("plant", "images", LABELS)
    log.grant("plant", "other", LABELS, SUBSCRIBER)

    def readers() -> list[str]:
        found = log.catalog().enabled_readers(id_of("plant"), "images")
        return [one.flow_id for one in found]

    assert readers() == [first, second]
    log.disable(first)
    assert readers() == [second]


def test_listeners_are_an_accounts_flows_on_queues(log: EventLog) -> None:
    log.subscribe("plant", "images", DIGITS)
    first = log.listener(DIGITS, "https://queue.example.test/1", BrokerKind.SQS)
    second = log.listener(LABELS, "sb://queue.example.test/2", BrokerKind.SERVICE_BUS)
    catalog = log.catalog()
    listeners = catalog.listeners_of(id_of("acme"))
    assert [listener.flow_id for listener in listeners] == [first, second]
    assert catalog.listeners_of(id_of("nobody")) == ()


def test_a_deleted_listener_is_gone_from_every_list(log: EventLog) -> None:
    flow_id = log.listener(DIGITS, "https://queue.example.test/1", BrokerKind.SQS)
    log.delete(flow_id)
    catalog = log.catalog()
    assert catalog.flow(flow_id) is None
    assert catalog.flows() == catalog.listeners_of(id_of("acme")) == ()
    assert catalog.flows_of_algorithm(id_of(DIGITS)) == ()
    assert catalog.enabled_flow_ids() == ()


def test_a_deleted_flow_whose_grant_stands_is_there_again_disabled(log: EventLog) -> None:
    flow_id = log.subscribe("plant", "images", DIGITS)
    log.delete(flow_id)
    found = flow(log.catalog(), flow_id)
    assert (found.settings, found.created_position) == (None, 0)
    assert found.stream_version == 3


def test_a_deleted_flow_without_a_grant_is_gone(log: EventLog) -> None:
    flow_id = log.subscribe("plant", "images", DIGITS)
    log.set_access("plant", "images")
    log.delete(flow_id)
    assert log.catalog().flow(flow_id) is None


@pytest.mark.parametrize(
    "event",
    [
        ApiKeyRevoked(account_id="nobody", key_id="none"),
        FlowEnabled(flow_id="none"),
        FlowDisabled(flow_id="none"),
    ],
)
def test_events_about_what_the_log_never_created_change_nothing(
    log: EventLog, event: Event
) -> None:
    before = log.catalog()
    log.add("none", event)
    after = log.catalog()
    assert after.position == before.position + 1
    assert (after.flows(), after.accounts()) == (before.flows(), before.accounts())


def test_a_catalog_with_one_account_more_differs(log: EventLog) -> None:
    before = log.catalog()
    log.add(
        id_of("other"),
        AccountCreated(
            account_id=id_of("other"), kind=AccountKind.USER, username="other", email="o@x.test"
        ),
    )
    assert log.catalog().accounts() != before.accounts()


# ---- size ----------------------------------------------------------------------------------------

FLOW_BYTES_MAX = 2_000


def test_a_flow_takes_less_than_2_kb_on_a_topic_of_its_own(log: EventLog) -> None:
    count = 1_000
    before = len(log.recorded)
    for number in range(count):
        log.subscribe("plant", f"topic-{number}", DIGITS)
    stored = [recorded_to_message(one).SerializeToString() for one in log.recorded]
    catalog = Catalog()
    for data in stored[:before]:
        catalog.apply(recorded_from_message(events_pb2.RecordedEvent.FromString(data)))
    tracemalloc.start()
    try:
        for data in stored[before:]:
            catalog.apply(recorded_from_message(events_pb2.RecordedEvent.FromString(data)))
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(catalog.enabled_flow_ids()) == count
    assert taken_bytes / count < FLOW_BYTES_MAX
