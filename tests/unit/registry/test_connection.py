"""Given events, when a command, then events or a refusal: connections and topic access."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from catalog.events import (
    ApiType,
    ConnectionCreated,
    ConnectionCredentialsShredded,
    ConnectionDeleted,
    ConnectionUpdated,
    Event,
    Grant,
    SecretRef,
    SecurityProtocol,
    TopicAccessSet,
)
from catalog.identifiers import topic_access_id
from kernel.errors import AlreadyExists, InvalidInput, NotFound, StateForbids, TooLarge
from registry.application import checks
from registry.domain import connection, topic_access
from registry.domain.connection import CreateConnection, DeleteConnection, UpdateConnection
from registry.domain.topic_access import SetTopicAccess

from tests.support.event_log import EventLog, id_of

CONNECTION = id_of("connection")
SECRET = SecretRef(secret_id=id_of("secret"), fingerprint=b"12345678")
CREATE = CreateConnection(
    connection_id=CONNECTION,
    name="Our cluster",
    bootstrap_servers=("kafka:9093",),
    security_protocol=SecurityProtocol.SASL_SSL,
    sasl_mechanism="PLAIN",
    credentials=SECRET,
)
CREATED = ConnectionCreated(
    connection_id=CONNECTION,
    name="Our cluster",
    bootstrap_servers=("kafka:9093",),
    security_protocol=SecurityProtocol.SASL_SSL,
    sasl_mechanism="PLAIN",
    credentials=SECRET,
)
PLAINTEXT = CreateConnection(
    connection_id=CONNECTION,
    name="Plain",
    bootstrap_servers=("kafka:9092",),
    security_protocol=SecurityProtocol.PLAINTEXT,
)
DELETE = DeleteConnection(connection_id=CONNECTION)
DELETED = ConnectionDeleted(connection_id=CONNECTION)
OTHER_ID = replace(SECRET, secret_id=id_of("another id"))
OTHER_SECRET = replace(SECRET, fingerprint=b"87654321")


def _decide(given: Sequence[Event], command: Any) -> Sequence[Event]:
    return connection.decider.decide(command, connection.decider.fold(given))


@pytest.mark.parametrize(
    ("given", "when", "then"),
    [
        ([], CREATE, [CREATED]),
        ([CREATED], CREATE, []),
        ([CREATED], replace(CREATE, credentials=OTHER_ID), []),
        ([CREATED], DELETE, [DELETED]),
        ([CREATED, DELETED], DELETE, []),
    ],
)
def test_a_command_becomes_events_once(given: list[Event], when: Any, then: list[Event]) -> None:
    assert _decide(given, when) == then


@pytest.mark.parametrize(
    ("given", "when", "error"),
    [
        ([], DELETE, NotFound),
        ([CREATED], replace(CREATE, name="Other"), AlreadyExists),
        ([CREATED], replace(CREATE, credentials=OTHER_SECRET), AlreadyExists),
        ([CREATED, DELETED], CREATE, StateForbids),
        ([], replace(CREATE, credentials=None), InvalidInput),
        ([], replace(CREATE, sasl_mechanism="GSSAPI"), InvalidInput),
        ([], replace(CREATE, bootstrap_servers=()), InvalidInput),
        ([], replace(CREATE, name=" "), InvalidInput),
        ([], replace(CREATE, security_protocol=SecurityProtocol.UNSPECIFIED), InvalidInput),
        ([], replace(PLAINTEXT, credentials=SECRET), InvalidInput),
        ([], replace(PLAINTEXT, sasl_mechanism="PLAIN"), InvalidInput),
        ([], replace(PLAINTEXT, ca_certificate="pem"), InvalidInput),
    ],
)
def test_what_the_state_or_the_values_forbid_is_refused(
    given: list[Event], when: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        _decide(given, when)


def test_a_plaintext_connection_has_no_credentials() -> None:
    (created,) = _decide([], PLAINTEXT)
    assert isinstance(created, ConnectionCreated)
    assert created.credentials is None


def test_the_name_is_claimed_until_the_connection_is_deleted() -> None:
    assert connection.claims(None, [CREATED]).added == ("connection/name/our cluster",)
    state = connection.decider.fold([CREATED])
    assert connection.claims(state, [DELETED]).released == ("connection/name/our cluster",)


SUBSCRIBER = Grant(algorithm_id=id_of("echo"), api_type=ApiType.SUBSCRIBER)
PUBLISHER = Grant(algorithm_id=id_of("echo"), api_type=ApiType.PUBLISHER)


def _set(*grants: Grant, topic: str = "orders") -> SetTopicAccess:
    return SetTopicAccess(connection_id=CONNECTION, topic=topic, grants=grants)


def _was_set(*grants: Grant) -> TopicAccessSet:
    return TopicAccessSet(
        topic_access_id=topic_access_id(connection_id=CONNECTION, topic="orders"),
        connection_id=CONNECTION,
        topic="orders",
        grants=grants,
    )


@pytest.mark.parametrize(
    ("given", "when", "then"),
    [
        ([], _set(), []),
        ([], _set(SUBSCRIBER), [_was_set(SUBSCRIBER)]),
        ([_was_set(SUBSCRIBER)], _set(SUBSCRIBER), []),
        ([_was_set(SUBSCRIBER, PUBLISHER)], _set(PUBLISHER, SUBSCRIBER), []),
        ([_was_set(SUBSCRIBER)], _set(), [_was_set()]),
        ([_was_set(SUBSCRIBER), _was_set()], _set(), []),
    ],
)
def test_the_grants_of_a_topic_are_saved_as_one(
    given: list[Event], when: SetTopicAccess, then: list[Event]
) -> None:
    assert topic_access.decider.decide(when, topic_access.decider.fold(given)) == then


@pytest.mark.parametrize(
    ("when", "error"),
    [
        (_set(SUBSCRIBER, SUBSCRIBER), InvalidInput),
        (_set(replace(SUBSCRIBER, api_type=ApiType.UNSPECIFIED)), InvalidInput),
        (_set(replace(SUBSCRIBER, algorithm_id="echo")), InvalidInput),
        (_set(topic="a b"), InvalidInput),
        (_set(topic=".."), InvalidInput),
        (_set(*[SUBSCRIBER] * (topic_access.GRANTS_MAX + 1)), TooLarge),
    ],
)
def test_wrong_grants_are_refused(when: SetTopicAccess, error: type[Exception]) -> None:
    with pytest.raises(error):
        topic_access.decider.decide(when, frozenset())


UPDATE = UpdateConnection(
    connection_id=CONNECTION,
    name="Our cluster",
    bootstrap_servers=("kafka:9093",),
    security_protocol=SecurityProtocol.SASL_SSL,
    sasl_mechanism="PLAIN",
)
STANDS = ConnectionUpdated(
    connection_id=CONNECTION,
    name="Our cluster",
    bootstrap_servers=("kafka:9093",),
    security_protocol=SecurityProtocol.SASL_SSL,
    sasl_mechanism="PLAIN",
    credentials=SECRET,
)
UPDATE_PLAIN = UpdateConnection(
    connection_id=CONNECTION,
    name="Our cluster",
    bootstrap_servers=("kafka:9092",),
    security_protocol=SecurityProtocol.PLAINTEXT,
)
WAS_PLAIN = ConnectionUpdated(
    connection_id=CONNECTION,
    name="Our cluster",
    bootstrap_servers=("kafka:9092",),
    security_protocol=SecurityProtocol.PLAINTEXT,
)
SHRED = connection.ShredCredentials(connection_id=CONNECTION)
SHREDDED = ConnectionCredentialsShredded(connection_id=CONNECTION)


@pytest.mark.parametrize(
    ("given", "when", "then"),
    [
        ([CREATED], UPDATE, []),
        ([CREATED], replace(UPDATE, name="Renamed"), [replace(STANDS, name="Renamed")]),
        ([CREATED], replace(UPDATE, credentials=OTHER_ID), []),
        (
            [CREATED],
            replace(UPDATE, name="Renamed", credentials=OTHER_ID),
            [replace(STANDS, name="Renamed")],
        ),
        (
            [CREATED],
            replace(UPDATE, credentials=OTHER_SECRET),
            [replace(STANDS, credentials=OTHER_SECRET)],
        ),
        (
            [CREATED],
            replace(UPDATE, credentials=OTHER_ID, lost_secret_id=SECRET.secret_id),
            [replace(STANDS, credentials=OTHER_ID)],
        ),
        ([CREATED], replace(UPDATE, credentials=OTHER_ID, lost_secret_id=id_of("older")), []),
        ([CREATED], UPDATE_PLAIN, [WAS_PLAIN]),
        ([CREATED, WAS_PLAIN], UPDATE_PLAIN, []),
        ([CREATED, WAS_PLAIN], replace(UPDATE, credentials=SECRET), [STANDS]),
        ([CREATED, SHREDDED], replace(UPDATE, credentials=SECRET), [STANDS]),
        ([CREATED, replace(STANDS, name="Renamed")], CREATE, []),
    ],
    ids=str,
)
def test_an_update_replaces_what_stands(given: list[Event], when: Any, then: list[Event]) -> None:
    assert _decide(given, when) == then


@pytest.mark.parametrize(
    ("given", "when", "then"),
    [
        ([CREATED], SHRED, [SHREDDED]),
        ([CREATED, SHREDDED], SHRED, []),
        ([CREATED, SHREDDED, STANDS], SHRED, [SHREDDED]),
        ([CREATED, WAS_PLAIN], SHRED, [SHREDDED]),
        ([CREATED, DELETED], SHRED, []),
    ],
)
def test_secrets_are_shredded_once_also_those_that_were_replaced(
    given: list[Event], when: Any, then: list[Event]
) -> None:
    assert _decide(given, when) == then


@pytest.mark.parametrize(
    ("given", "when", "error"),
    [
        ([], UPDATE, NotFound),
        ([], SHRED, NotFound),
        ([CREATED, DELETED], UPDATE, StateForbids),
        ([CREATED, SHREDDED], UPDATE, StateForbids),
        ([CREATED, WAS_PLAIN], UPDATE, StateForbids),
        ([CREATED], replace(UPDATE_PLAIN, credentials=OTHER_SECRET), InvalidInput),
        ([CREATED], replace(UPDATE_PLAIN, sasl_mechanism="PLAIN"), InvalidInput),
        ([CREATED], replace(UPDATE, sasl_mechanism="GSSAPI"), InvalidInput),
        ([CREATED], replace(UPDATE, name=" "), InvalidInput),
        ([CREATED], replace(UPDATE, bootstrap_servers=()), InvalidInput),
    ],
)
def test_an_update_is_held_to_the_rules_of_a_creation(
    given: list[Event], when: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        _decide(given, when)


@pytest.mark.parametrize(
    ("events", "added", "released"),
    [
        ([replace(STANDS, name="Renamed")], ["renamed"], ["our cluster"]),
        ([replace(STANDS, name="OUR cluster")], [], []),
        ([replace(STANDS, name="Renamed"), STANDS], [], []),
        ([replace(STANDS, name="Renamed"), DELETED], [], ["our cluster"]),
        ([SHREDDED], [], []),
    ],
)
def test_a_new_name_is_claimed_in_the_step_that_gives_the_old_one_back(
    events: list[Event], added: list[str], released: list[str]
) -> None:
    claims = connection.claims(connection.decider.fold([CREATED]), events)
    assert claims.added == tuple(f"connection/name/{name}" for name in added)
    assert claims.released == tuple(f"connection/name/{name}" for name in released)


# ---- SSL, client certificates, prefixes ----------------------------------------------------------

SSL = ConnectionUpdated(
    connection_id=CONNECTION,
    name="Our cluster",
    bootstrap_servers=("kafka:9093",),
    security_protocol=SecurityProtocol.SSL,
)
CERTIFIED = replace(SSL, client_certificate="pem one", credentials=SECRET)
BOTH = replace(STANDS, client_certificate="pem one")


def _update_to(event: ConnectionUpdated, **fields: Any) -> UpdateConnection:
    given = {name: getattr(event, name) for name in ConnectionUpdated.__slots__}
    return UpdateConnection(**{**given, **fields})


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"security_protocol": SecurityProtocol.SSL}, "an SSL connection has no sasl_mechanism"),
        (
            {"security_protocol": SecurityProtocol.SSL, "sasl_mechanism": ""},
            "an SSL connection without a client_certificate has no credentials",
        ),
        (
            {
                "security_protocol": SecurityProtocol.SSL,
                "sasl_mechanism": "",
                "client_certificate": "pem",
                "credentials": None,
            },
            "an SSL connection needs credentials: client_key",
        ),
        (
            {"security_protocol": SecurityProtocol.SASL_PLAINTEXT, "ca_certificate": "pem"},
            "a SASL_PLAINTEXT connection has no ca_certificate or client_certificate, since it is "
            "not encrypted",
        ),
        (
            {"security_protocol": SecurityProtocol.SASL_PLAINTEXT, "sasl_mechanism": ""},
            "sasl_mechanism must be one of",
        ),
        ({"group_prefix": "a b"}, "group_prefix must hold letters, digits"),
        ({"group_prefix": "x" * 101}, "at most 100 characters"),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_to_do(
    fields: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        _decide([], replace(CREATE, **fields))


@pytest.mark.parametrize(
    "wish",
    [
        SSL,
        replace(SSL, ca_certificate="pem"),
        CERTIFIED,
        BOTH,
        replace(STANDS, security_protocol=SecurityProtocol.SASL_PLAINTEXT),
        replace(STANDS, group_prefix="acme.kafka-"),
    ],
)
def test_every_protocol_has_its_own_shape(wish: ConnectionUpdated) -> None:
    given = {name: getattr(wish, name) for name in ConnectionUpdated.__slots__}
    (created,) = _decide([], CreateConnection(**given))
    assert created == ConnectionCreated(**given)
    assert _decide([CREATED], _update_to(wish)) == ([wish] if wish != STANDS else [])


@pytest.mark.parametrize(
    ("stood", "wish"),
    [
        (CERTIFIED, replace(CERTIFIED, name="Renamed")),
        (CERTIFIED, replace(SSL, credentials=None)),
        (BOTH, STANDS),
        (BOTH, CERTIFIED),
        (STANDS, replace(STANDS, security_protocol=SecurityProtocol.SASL_PLAINTEXT)),
    ],
)
def test_credentials_are_kept_where_they_are_what_the_new_values_need(
    stood: ConnectionUpdated, wish: ConnectionUpdated
) -> None:
    assert _decide([CREATED, stood], _update_to(wish, credentials=None)) == [wish]


@pytest.mark.parametrize(
    ("stood", "wish", "sentence"),
    [
        (SSL, CERTIFIED, "no credentials to keep: give client_key"),
        (SSL, STANDS, "no credentials to keep: give username and password"),
        (CERTIFIED, STANDS, "have no username and password: give them"),
        (STANDS, BOTH, "a client_certificate goes with its key: give client_key too"),
        (CERTIFIED, replace(CERTIFIED, client_certificate="pem two"), "goes with its key"),
    ],
)
def test_credentials_that_are_not_what_the_new_values_need_are_not_kept(
    stood: ConnectionUpdated, wish: ConnectionUpdated, sentence: str
) -> None:
    with pytest.raises(StateForbids, match=sentence):
        _decide([CREATED, stood], _update_to(wish, credentials=None))


# ---- what its flows say --------------------------------------------------------------------------


@pytest.fixture
def log() -> EventLog:
    log = EventLog()
    log.account("acme")
    log.algorithm("acme/digits", "1.0.0")
    log.connection("plant")
    return log


def _renamed_groups(log: EventLog) -> UpdateConnection:
    known = log.catalog().connection(id_of("plant"))
    assert known is not None
    return UpdateConnection(
        connection_id=known.connection_id,
        name=known.name,
        bootstrap_servers=known.bootstrap_servers,
        security_protocol=known.security_protocol,
        group_prefix="acme.",
    )


def test_a_prefix_of_groups_changes_while_no_flow_has_a_position_there(log: EventLog) -> None:
    log.grant("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    log.publish_to("plant", "labels", "acme/digits")  # its group is on our own Kafka
    log.connection("depot")
    log.subscribe("depot", "orders", "acme/digits")
    command = _renamed_groups(log)
    assert checks.update_connection(command)(log.catalog()) == command


def test_a_prefix_under_which_a_flow_has_its_position_stays(log: EventLog) -> None:
    log.disable(log.subscribe("plant", "orders", "acme/digits"))
    command = _renamed_groups(log)
    with pytest.raises(StateForbids, match="they would begin anew: leave it as it is"):
        checks.update_connection(command)(log.catalog())
    same = replace(command, group_prefix="", name="another name")
    assert checks.update_connection(same)(log.catalog()) == same
