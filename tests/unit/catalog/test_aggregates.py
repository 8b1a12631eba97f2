"""States of aggregates: by kind and id, in lists, folded from single streams, as messages."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from catalog import aggregates, records
from catalog.aggregates import KIND_OF_STATE, State, from_message, to_message
from catalog.catalog import Catalog
from catalog.events import ApiType
from catalog.kinds import AggregateKind
from catalog.records import LEFT_OUT
from eventflows.catalog.v1 import catalog_pb2

from tests.golden.fold import history
from tests.support.event_log import EventLog, id_of
from tests.unit.catalog.test_codec import differences

KINDS = [kind for kind in AggregateKind if kind is not AggregateKind.UNSPECIFIED]
MESSAGES = catalog_pb2.DESCRIPTOR.message_types_by_name


def everything() -> list[State]:
    """A state of every shape that the fixed history comes to."""
    catalog = history().catalog()
    return [state for kind in KINDS for state in aggregates.listed(catalog, kind)]


def as_read(state: State) -> State:
    """The state without what messages leave out."""
    match state:
        case records.Account():
            return replace(state, keys=tuple(replace(key, key_sha256=b"") for key in state.keys))
        case records.Flow():
            return replace(state, changes=())
        case _:
            return state


# ---- both sides are equal ------------------------------------------------------------------------


@pytest.mark.parametrize("record", [*KIND_OF_STATE, records.ApiKey, records.Build, records.Version])
def test_record_and_message_have_the_same_fields_and_types(record: type) -> None:
    assert differences(record, MESSAGES[record.__name__]) == []


def test_only_what_look_ups_need_is_left_out() -> None:
    left_out = [
        f"{record.__name__}.{field.name}"
        for record in (*KIND_OF_STATE, records.ApiKey, records.Build, records.Version)
        for field in fields(record)
        if LEFT_OUT in field.metadata
    ]
    assert left_out == ["Flow.changes", "ApiKey.key_sha256"]


def test_every_kind_has_a_field_of_the_aggregate() -> None:
    names = {kind.name.lower() for kind in KIND_OF_STATE.values()}
    assert names == {field.name for field in MESSAGES["Aggregate"].fields}
    assert set(KIND_OF_STATE.values()) == set(KINDS)


def test_states_survive_the_way_to_messages_and_back() -> None:
    states = everything()
    assert {KIND_OF_STATE[type(state)] for state in states} == set(KINDS)
    for state in states:
        data = to_message(state).SerializeToString()
        assert from_message(catalog_pb2.Aggregate.FromString(data)) == as_read(state)


def test_a_disabled_flow_has_no_settings_and_no_time_of_enabling() -> None:
    log = EventLog()
    log.account("acme")
    log.algorithm("acme/digits", "1.0.0")
    log.connection("plant")
    flow_id = log.grant("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    flow = log.catalog().flow(flow_id)
    assert flow is not None
    message = to_message(flow).flow
    assert not message.HasField("settings")
    assert not message.HasField("enabled_time")
    assert from_message(to_message(flow)) == flow


def test_an_aggregate_of_a_newer_build_is_refused() -> None:
    with pytest.raises(ValueError, match="this build does not know"):
        from_message(catalog_pb2.Aggregate())


# ---- look-ups ------------------------------------------------------------------------------------


def test_what_is_listed_is_found_by_its_id_and_kind_alone() -> None:
    catalog = history().catalog()
    for kind in KINDS:
        for state in aggregates.listed(catalog, kind):
            assert aggregates.of(catalog, kind, aggregates.id_of(state)) is state
            others = [other for other in KINDS if other is not kind]
            found = [aggregates.of(catalog, other, aggregates.id_of(state)) for other in others]
            assert found == [None] * len(others)


def test_lists_are_in_the_order_of_the_log_also_from_an_image() -> None:
    catalog = history().catalog()
    again = Catalog.of(catalog.image())
    for kind in KINDS:
        assert aggregates.listed(again, kind) == aggregates.listed(catalog, kind)
    created = [state.created_time for state in catalog.algorithms()]
    assert created == sorted(created)


@pytest.mark.parametrize("look", [lambda kind: aggregates.listed(Catalog(), kind),
                                  lambda kind: aggregates.of(Catalog(), kind, "one")])  # fmt: skip
def test_no_kind_is_a_mistake_of_the_caller(look: object) -> None:
    with pytest.raises(ValueError, match="is no kind of aggregate"):
        look(AggregateKind.UNSPECIFIED)  # type: ignore[operator]


# ---- single streams ------------------------------------------------------------------------------


def test_one_stream_tells_its_own_state() -> None:
    log = history()
    catalog = Catalog()
    aggregates.fold(catalog, [one for one in log.recorded if one.stream_id == id_of("acme/digits")])
    assert catalog.algorithm(id_of("acme/digits")) == log.catalog().algorithm(id_of("acme/digits"))


def test_an_event_is_not_taken_in_twice() -> None:
    log = EventLog()
    log.account("acme")
    catalog = log.catalog()
    with pytest.raises(ValueError, match="event 1 is not after 1"):
        aggregates.fold(catalog, log.recorded)
    assert catalog.position == 1


def test_grants_saved_again_are_found_by_the_same_id() -> None:
    log = EventLog()
    log.account("acme")
    log.algorithm("acme/digits", "1.0.0")
    log.connection("plant")
    log.grant("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
    log.set_access("plant", "orders")
    catalog = log.catalog()
    access = catalog.topic_access(id_of("plant"), "orders")
    assert access is not None
    assert access.grants == ()
    assert catalog.topic_access_by_id(access.topic_access_id) is access
    log.delete_connection("plant")
    assert log.catalog().topic_accesses() == (access,)
