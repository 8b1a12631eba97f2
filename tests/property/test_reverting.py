"""Whatever happened to a stream: a revert leads to the state of then, or is rightly refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from catalog.events import (
    AccountKind,
    ApiType,
    Event,
    KeyType,
    SecretRef,
    SecurityProtocol,
    TopicAccessSet,
)
from catalog.identifiers import topic_access_id
from catalog.kinds import AggregateKind
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel.errors import EventflowsError, StateForbids
from registry.domain import account, connection
from registry.domain.reverting import OF_KIND, Revert, command_to, reverting

from tests.property.test_flows import grants, told
from tests.support.event_log import flow_id_of, id_of

WIRE = ("red", "acme/a", ApiType.SUBSCRIBER)
of_one_wire = st.one_of(
    st.tuples(st.just("enable"), st.just(WIRE), st.booleans(), st.sampled_from(("", "blue"))),
    st.tuples(st.just("disable"), st.just(WIRE)),
    st.tuples(st.just("pause"), st.just(WIRE)),
    st.tuples(st.just("resume"), st.just(WIRE)),
    st.tuples(st.just("access"), st.just(WIRE[0]), grants),
)
PLANT, ACME = id_of("plant"), id_of("acme")

secrets = st.sampled_from("abc").map(
    lambda name: SecretRef(secret_id=id_of(name), fingerprint=name.encode() * 8)
)
updates = st.builds(
    connection.UpdateConnection,
    connection_id=st.just(PLANT),
    name=st.sampled_from(("plant", "factory")),
    bootstrap_servers=st.sampled_from((("one:9093",), ("one:9093", "two:9093"))),
    security_protocol=st.sampled_from(SecurityProtocol),
    sasl_mechanism=st.sampled_from(("", *connection.SASL_MECHANISMS)),
    client_certificate=st.sampled_from(("", "pem one", "pem two")),
    credentials=st.none() | secrets,
)
of_connections = st.lists(
    updates
    | st.just(connection.ShredCredentials(connection_id=PLANT))
    | st.just(connection.DeleteConnection(connection_id=PLANT)),
    max_size=8,
)
keys = st.sampled_from([id_of(f"key {number}") for number in range(4)])
of_accounts = st.lists(
    st.builds(
        account.CreateApiKey,
        account_id=st.just(ACME),
        key_id=keys,
        label=st.just("a key"),
        key_type=st.just(KeyType.STANDARD),
        key_sha256=st.just(b"k" * 32),
        mask=st.just("sim******abcd"),
    )
    | st.builds(account.RevokeApiKey, account_id=st.just(ACME), key_id=keys),
    max_size=10,
)


def happened(kind: AggregateKind, commands: Sequence[object]) -> list[Event]:
    """The events of these commands; those that are refused have none."""
    decider = OF_KIND[kind].decider
    stream: list[Event] = []
    for command in commands:
        try:
            stream += decider.decide(command, decider.fold(stream))
        except EventflowsError:
            continue
    return stream


def reverted(kind: AggregateKind, stream: Sequence[Event], to_version: int) -> Sequence[Event]:
    """What a revert appends; raises when it is refused."""
    decider = reverting(OF_KIND[kind]).decider
    then = decider.fold(stream[:to_version])
    saved = next((one for one in stream if isinstance(one, TopicAccessSet)), None)
    command = command_to(then, saved)
    return decider.decide(Revert(then=then, command=command), decider.fold(stream))


@settings(max_examples=150, deadline=None)
@given(of_connections, st.data())
def test_a_connection_is_as_it_was_or_over_for_good(
    commands: list[object], data: st.DataObject
) -> None:
    created = connection.CreateConnection(
        connection_id=PLANT, name="plant", bootstrap_servers=("one:9093",),
        security_protocol=SecurityProtocol.SASL_SSL, sasl_mechanism="PLAIN",
        credentials=SecretRef(secret_id=id_of("a"), fingerprint=b"a" * 8),
    )  # fmt: skip
    stream = happened(AggregateKind.CONNECTION, [created, *commands])
    version = data.draw(st.integers(1, len(stream)))
    fold = connection.decider.fold
    then, now = fold(stream[:version]), fold(stream)
    assert then is not None
    assert now is not None
    try:
        appended = reverted(AggregateKind.CONNECTION, stream, version)
    except StateForbids:
        assert then != now
        assert now.deleted or then.now.credentials is None
        return
    after = fold([*stream, *appended])
    assert after is not None
    assert after.now == then.now
    assert bool(appended) == (then.now != now.now)


@settings(max_examples=100, deadline=None)
@given(of_accounts, st.data())
def test_an_account_has_the_keys_of_then_or_one_was_revoked(
    commands: list[object], data: st.DataObject
) -> None:
    created = account.CreateAccount(
        account_id=ACME, kind=AccountKind.ORGANIZATION, username="acme", email=""
    )
    stream = happened(AggregateKind.ACCOUNT, [created, *commands])
    version = data.draw(st.integers(1, len(stream)))

    def live(events: Sequence[Event]) -> set[str]:
        state = account.decider.fold(events)
        assert state is not None
        return set(state.keys) - state.revoked

    try:
        appended = reverted(AggregateKind.ACCOUNT, stream, version)
    except StateForbids:
        assert live(stream[:version]) - live(stream)
        return
    assert live([*stream, *appended]) == live(stream[:version])


@settings(max_examples=150, deadline=None)
@given(st.lists(of_one_wire, max_size=8), st.data())
def test_a_flow_and_its_grants_are_as_they_were(
    history: list[tuple[object, ...]], data: st.DataObject
) -> None:
    log = told([("enable", WIRE, False, ""), *history], all_granted=True)
    access_id = topic_access_id(connection_id=PLANT, topic=WIRE[0])
    kind, stream_id = data.draw(
        st.sampled_from([
            (AggregateKind.FLOW, flow_id_of("plant", *WIRE)),
            (AggregateKind.TOPIC_ACCESS, access_id),
        ])
    )  # fmt: skip
    stream = [one.event for one in log.recorded if one.stream_id == stream_id]
    version = data.draw(st.integers(1, len(stream)))
    fold = OF_KIND[kind].decider.fold
    then, now = fold(stream[:version]), fold(stream)
    if kind is AggregateKind.FLOW:
        then = replace(then, paused=now.paused)  # a pause is no setting
    appended = reverted(kind, stream, version)
    assert fold([*stream, *appended]) == then
    assert bool(appended) == (then != now)
