"""What may run, and every reason why something may not."""

import pytest
from catalog.effective import (
    AlgorithmTarget,
    Blocked,
    BlockReasonKind,
    Runnable,
    TopicTarget,
    effective,
)
from catalog.events import ApiType, BrokerKind, ConnectionUpdated, SecurityProtocol

from tests.support.event_log import EventLog, id_of

DIGITS, LABELS = "acme/digits", "acme/labels"
SUBSCRIBER, PUBLISHER = ApiType.SUBSCRIBER, ApiType.PUBLISHER
Kind = BlockReasonKind


@pytest.fixture
def log() -> EventLog:
    """acme with two published algorithms, and a Kafka cluster named plant."""
    log = EventLog()
    log.account("acme")
    log.algorithm(DIGITS, "0.1.0", "0.2.0")
    log.algorithm(LABELS, "0.1.0")
    log.connection("plant")
    return log


def runnable(log: EventLog, flow_id: str) -> Runnable:
    found = effective(log.catalog(), flow_id)
    assert isinstance(found, Runnable), found
    return found


def blocked(log: EventLog, flow_id: str) -> list[BlockReasonKind]:
    found = effective(log.catalog(), flow_id)
    assert isinstance(found, Blocked), found
    return [reason.kind for reason in found.reasons]


def sentence(log: EventLog, flow_id: str) -> str:
    found = effective(log.catalog(), flow_id)
    assert isinstance(found, Blocked), found
    return found.sentence


# ---- runnable ------------------------------------------------------------------------------------


def test_a_granted_and_enabled_subscriber_flow_runs_the_newest_version(log: EventLog) -> None:
    found = runnable(log, log.subscribe("plant", "images", DIGITS))
    assert found.algorithm.full_name == DIGITS
    assert found.version.version == "0.2.0"
    assert found.connection is not None
    assert found.connection.name == "plant"
    assert found.dead_letter_topic == ""
    assert found.target == AlgorithmTarget(algorithm=found.algorithm, version=found.version)
    assert found.settings is found.flow.settings


def test_a_flow_runs_the_version_that_it_was_enabled_with(log: EventLog) -> None:
    flow_id = log.grant("plant", "images", DIGITS, SUBSCRIBER)
    log.enable(flow_id, "0.1.0")
    assert runnable(log, flow_id).version.version == "0.1.0"


def test_without_a_version_a_flow_takes_the_newest_even_a_private_one(log: EventLog) -> None:
    flow_id = log.subscribe("plant", "images", DIGITS)
    log.publish(DIGITS, "0.3.0", public=False)
    assert runnable(log, flow_id).version.version == "0.3.0"


def test_a_publisher_flow_writes_to_its_topic(log: EventLog) -> None:
    found = runnable(log, log.publish_to("plant", "labels", DIGITS))
    assert found.connection is not None
    assert found.target == TopicTarget(connection=found.connection, topic="labels")
    assert (found.algorithm.full_name, found.version.version) == (DIGITS, "0.2.0")


def test_a_chain_flow_runs_the_target_at_its_newest_version(log: EventLog) -> None:
    found = runnable(log, log.chain(DIGITS, LABELS))
    assert found.connection is None
    assert found.algorithm.full_name == DIGITS
    assert isinstance(found.target, AlgorithmTarget)
    assert found.target.algorithm.full_name == LABELS
    assert found.target.version.version == "0.1.0"


def test_a_secured_connection_with_credentials_runs(log: EventLog) -> None:
    log.connection("vault", secured=True)
    runnable(log, log.subscribe("vault", "images", DIGITS))


@pytest.mark.parametrize("api_type", [PUBLISHER, ApiType.DEAD_LETTER])
def test_dead_letters_go_to_a_topic_that_is_granted_for_it(
    log: EventLog, api_type: ApiType
) -> None:
    flow_id = log.grant("plant", "images", DIGITS, SUBSCRIBER)
    log.grant("plant", "failed", DIGITS, api_type)
    log.enable(flow_id, dead_letters="failed")
    assert runnable(log, flow_id).dead_letter_topic == "failed"


# ---- blocked -------------------------------------------------------------------------------------


def test_a_flow_that_does_not_exist_is_blocked_as_deleted(log: EventLog) -> None:
    assert blocked(log, id_of("nothing")) == [Kind.FLOW_DELETED]
    listener = log.listener(DIGITS, "https://queue.example.test/1", BrokerKind.SQS)
    log.delete(listener)
    assert blocked(log, listener) == [Kind.FLOW_DELETED]


def test_a_flow_is_disabled_until_somebody_enables_it(log: EventLog) -> None:
    flow_id = log.grant("plant", "images", DIGITS, SUBSCRIBER)
    assert blocked(log, flow_id) == [Kind.DISABLED]
    log.enable(flow_id)
    runnable(log, flow_id)
    log.disable(flow_id)
    assert blocked(log, flow_id) == [Kind.DISABLED]


def test_a_grant_taken_away_blocks_and_given_back_unblocks(log: EventLog) -> None:
    flow_id = log.subscribe("plant", "images", DIGITS)
    log.set_access("plant", "images", (DIGITS, PUBLISHER))
    assert blocked(log, flow_id) == [Kind.GRANT_REVOKED]
    assert "acme/digits is no longer a subscriber of the topic images" in sentence(log, flow_id)
    log.set_access("plant", "images", (DIGITS, SUBSCRIBER))
    runnable(log, flow_id)


def test_a_deleted_connection_blocks_by_its_name(log: EventLog) -> None:
    flow_id = log.subscribe("plant", "images", DIGITS)
    log.delete_connection("plant")
    assert blocked(log, flow_id) == [Kind.CONNECTION_DELETED]
    assert "the connection plant was deleted" in sentence(log, flow_id)


def test_a_secured_connection_without_credentials_blocks(log: EventLog) -> None:
    log.connection("vault", secured=True, credentials=False)
    flow_id = log.subscribe("vault", "images", DIGITS)
    assert blocked(log, flow_id) == [Kind.CREDENTIALS_MISSING]


@pytest.mark.parametrize("broker", [BrokerKind.SQS, BrokerKind.SERVICE_BUS])
def test_a_queue_is_blocked_until_there_is_an_adapter(log: EventLog, broker: BrokerKind) -> None:
    flow_id = log.listener(DIGITS, "queue", broker)
    assert blocked(log, flow_id) == [Kind.NO_ADAPTER_YET]
    assert sentence(log, flow_id).startswith("blocked: no adapter yet")


def test_a_service_bus_listener_without_its_connection_string_says_both(log: EventLog) -> None:
    flow_id = log.listener(DIGITS, "queue", BrokerKind.SERVICE_BUS, credentials=False)
    assert blocked(log, flow_id) == [Kind.NO_ADAPTER_YET, Kind.CREDENTIALS_MISSING]


def test_an_algorithm_without_a_version_blocks(log: EventLog) -> None:
    log.algorithm("acme/draft")
    flow_id = log.subscribe("plant", "images", "acme/draft")
    assert blocked(log, flow_id) == [Kind.NO_PUBLISHED_VERSION]
    log.publish("acme/draft", "0.1.0", public=False)
    runnable(log, flow_id)


@pytest.mark.parametrize("wanted", ["0.9.0", "nonsense"])
def test_a_version_that_is_not_published_blocks(log: EventLog, wanted: str) -> None:
    flow_id = log.grant("plant", "images", DIGITS, SUBSCRIBER)
    log.enable(flow_id, wanted)
    assert blocked(log, flow_id) == [Kind.VERSION_NOT_PUBLISHED]
    assert f"acme/digits has no published version {wanted}" in sentence(log, flow_id)


@pytest.mark.parametrize(
    ("connection", "algorithm", "api_type"),
    [("plant", LABELS, PUBLISHER), ("office", DIGITS, PUBLISHER), ("plant", DIGITS, SUBSCRIBER)],
)
def test_dead_letters_need_a_grant_of_the_same_algorithm_and_connection(
    log: EventLog, connection: str, algorithm: str, api_type: ApiType
) -> None:
    log.connection("office")
    flow_id = log.grant("plant", "images", DIGITS, SUBSCRIBER)
    log.grant(connection, "failed", algorithm, api_type)
    log.enable(flow_id, dead_letters="failed")
    assert blocked(log, flow_id) == [Kind.DEAD_LETTER_NOT_GRANTED]


def test_a_chain_flow_has_no_topic_for_dead_letters(log: EventLog) -> None:
    flow_id = log.chain(DIGITS, LABELS)
    log.enable(flow_id, dead_letters="failed")
    assert blocked(log, flow_id) == [Kind.DEAD_LETTER_NOT_GRANTED]


def test_a_chain_flow_to_an_algorithm_that_cannot_run_is_blocked(log: EventLog) -> None:
    log.algorithm("acme/draft")
    assert blocked(log, log.chain(DIGITS, "acme/draft")) == [Kind.NO_PUBLISHED_VERSION]
    assert blocked(log, log.chain(DIGITS, "acme/nothing")) == [Kind.ALGORITHM_MISSING]
    assert blocked(log, log.chain("acme/nothing", DIGITS)) == [Kind.ALGORITHM_MISSING]


def test_every_reason_that_applies_is_told(log: EventLog) -> None:
    log.connection("vault", secured=True, credentials=False)
    flow_id = log.grant("vault", "images", DIGITS, SUBSCRIBER)
    log.enable(flow_id, "9.9.9", dead_letters="failed")
    log.set_access("vault", "images")
    assert blocked(log, flow_id) == [
        Kind.CREDENTIALS_MISSING,
        Kind.GRANT_REVOKED,
        Kind.VERSION_NOT_PUBLISHED,
        Kind.DEAD_LETTER_NOT_GRANTED,
    ]


def test_a_disabled_flow_tells_what_would_stop_it_anyway(log: EventLog) -> None:
    log.algorithm("acme/draft")
    flow_id = log.grant("plant", "images", "acme/draft", SUBSCRIBER)
    assert blocked(log, flow_id) == [Kind.DISABLED, Kind.NO_PUBLISHED_VERSION]


def test_the_words_never_change() -> None:
    assert {kind.value for kind in BlockReasonKind} == {
        "flow_deleted",
        "disabled",
        "no_adapter_yet",
        "connection_deleted",
        "credentials_missing",
        "grant_revoked",
        "algorithm_missing",
        "no_published_version",
        "version_not_published",
        "dead_letter_not_granted",
        "cycle",
    }


def test_the_answer_depends_on_the_log_alone(log: EventLog) -> None:
    flow_id = log.subscribe("plant", "images", DIGITS)
    assert effective(log.catalog(), flow_id) == effective(log.catalog(), flow_id)


# ---- secrets of connections ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "certificate", "missing"),
    [
        (SecurityProtocol.PLAINTEXT, "", False),
        (SecurityProtocol.SSL, "", False),
        (SecurityProtocol.SSL, "pem", True),
        (SecurityProtocol.SASL_SSL, "", True),
        (SecurityProtocol.SASL_PLAINTEXT, "", True),
    ],
)
def test_a_connection_lacks_credentials_where_it_needs_some(
    log: EventLog, protocol: SecurityProtocol, certificate: str, missing: bool
) -> None:
    flow_id = log.subscribe("plant", "images", DIGITS)
    log.add(
        id_of("plant"),
        ConnectionUpdated(
            connection_id=id_of("plant"),
            name="plant",
            bootstrap_servers=("kafka:9093",),
            security_protocol=protocol,
            client_certificate=certificate,
        ),
    )
    found = effective(log.catalog(), flow_id)
    assert isinstance(found, Blocked) == missing
    if missing:
        assert blocked(log, flow_id) == [Kind.CREDENTIALS_MISSING]
        assert "or the key of its client certificate" in sentence(log, flow_id)
