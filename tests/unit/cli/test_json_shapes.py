"""The JSON that the command promises."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from catalog.codec import to_message
from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows_cli.event_shapes import of_event
from eventflows_cli.json_shapes import of_message, rfc3339, time_of
from eventflows_cli.kinds import Kind

from tests.golden import samples
from tests.unit.cli.documents import recorded


def test_positions_beyond_32_bits_are_numbers() -> None:
    shape = of_message(pb.GetHeadRequest())
    assert shape == {}
    head = of_message(pb.Head(position=2**53 + 1, hash=b"\x01\xff"))
    assert json.loads(json.dumps(head)) == {"position": 2**53 + 1, "hash": "01ff", "time": None}


def test_enumerations_are_words_and_unknown_ones_their_number() -> None:
    connection = catalog_pb2.Connection(
        security_protocol=events_pb2.SECURITY_PROTOCOL_SASL_SSL, bootstrap_servers=["a:1", "b:2"]
    )
    shape = of_message(connection)
    assert shape["security_protocol"] == "sasl_ssl"
    assert shape["bootstrap_servers"] == ["a:1", "b:2"]
    assert shape["credentials"] is None
    newer = catalog_pb2.Flow()
    newer.kind = 99  # type: ignore[assignment]
    assert of_message(newer)["kind"] == "99"


def test_maps_are_objects_in_the_order_of_their_keys() -> None:
    statistics = pb.LogStatistics(events_of_kind={"b.v1": 2, "a.v1": 1})
    assert list(of_message(statistics)["events_of_kind"].items()) == [("a.v1", 1), ("b.v1", 2)]


def test_of_a_oneof_only_what_is_set_is_there() -> None:
    assert of_message(pb.AsOf(position=3)) == {"position": 3}


def test_times_have_six_digits_and_read_back() -> None:
    time = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
    assert rfc3339(time) == "2026-11-24T09:30:00.000000Z"
    assert time_of(rfc3339(time)) == time


def test_an_event_has_every_field_that_is_documented() -> None:
    event = recorded(
        7,
        events_pb2.Event(flow_enabled=events_pb2.FlowEnabled(flow_id="f", concurrency_max=4)),
        stream_id="f",
        version=3,
    )
    assert of_event(event, stream_name="acme/digits ← images", actor_name="acme") == {
        "position": 7,
        "time": "2026-11-24T09:30:00.250000Z",
        "event": "flow.enabled.v1",
        "kind": "flow",
        "stream_id": "f",
        "stream_name": "acme/digits ← images",
        "version": 3,
        "actor": "a-1",
        "actor_name": "acme",
        "key_id": "k-1",
        "command_id": "c-1",
        "correlation_id": "r-1",
        "traceparent": "00-t-s-01",
        "data": {
            "flow_id": "f",
            "algorithm_version": "",
            "dead_letter_topic": "",
            "concurrency_max": 4,
            "allow_cycle": False,
            "timeout_s": 0,
            "delivery": None,
        },
    }


def test_an_event_of_a_newer_build_is_shown_without_its_data() -> None:
    shape = of_event(recorded(7, events_pb2.Event()), stream_name="", actor_name="")
    assert (shape["event"], shape["kind"], shape["data"]) == ("", None, None)


def test_every_kind_of_event_becomes_json_with_a_kind() -> None:
    assert len(samples.SAMPLES) > 10
    for sample in samples.SAMPLES:
        shape = of_event(recorded(1, to_message(sample)), stream_name="", actor_name="")
        assert json.loads(json.dumps(shape)) == shape
        assert shape["kind"] in set(Kind)
