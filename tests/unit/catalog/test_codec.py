"""Both sides of the codec hold the same kinds, fields and types, and old bytes stay readable."""

from __future__ import annotations

import json
import types
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from catalog import codec, events
from catalog.codec import KINDS, decode, encode, stored_name
from catalog.events import Event, RecordedEvent
from catalog.records import LEFT_OUT
from eventflows.events.v1 import events_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from tests.golden.add import add
from tests.golden.samples import EVENTS, SAMPLES, as_json, golden_names, golden_path

ONEOF = events_pb2.Event.DESCRIPTOR.oneofs_by_name["kind"]
GOLDEN_NAMES = sorted(path.name.removesuffix(".bin") for path in EVENTS.glob("*.bin"))
STORED_NAMES = sorted(
    field.GetOptions().Extensions[events_pb2.stored_name] for field in ONEOF.fields
)
SCALARS = {
    FieldDescriptor.TYPE_STRING: str,
    FieldDescriptor.TYPE_BYTES: bytes,
    FieldDescriptor.TYPE_BOOL: bool,
    FieldDescriptor.TYPE_INT32: int,
    FieldDescriptor.TYPE_INT64: int,
    FieldDescriptor.TYPE_DOUBLE: float,
}


def record_of(name: str) -> type:
    """The class of the same name in `catalog.events`."""
    found = getattr(events, name)
    assert isinstance(found, type)
    return found


def item_and_shape(hint: Any) -> tuple[Any, str]:
    """(item type, `repeated`, `optional` or `one`) of an annotation."""
    if get_origin(hint) is tuple:
        item, dots = get_args(hint)
        assert dots is ...
        return item, "repeated"
    if get_origin(hint) in (Union, types.UnionType):
        (item,) = (arg for arg in get_args(hint) if arg is not type(None))
        return item, "optional"
    return hint, "one"


def differences(record: type, message: Descriptor) -> list[str]:
    """What a dataclass and a message do not have in common, however deep."""
    hints = get_type_hints(record)
    there = {field.name: field for field in message.fields}
    here = [field.name for field in fields(record) if LEFT_OUT not in field.metadata]
    if sorted(here) != sorted(there):
        return [f"{record.__name__}: {sorted(here)} and {sorted(there)}"]
    found = []
    for name in here:
        found += field_differences(f"{record.__name__}.{name}", hints[name], there[name])
    return found


def field_differences(where: str, hint: Any, field: FieldDescriptor) -> list[str]:
    item, shape = item_and_shape(hint)
    found = [] if (shape == "repeated") == field.is_repeated else [f"{where}: repeated on one side"]
    if field.enum_type is not None:
        return found + enum_differences(where, item, field.enum_type)
    if field.message_type is None:
        same = item is SCALARS[field.type] and shape != "optional"
        return found if same else [*found, f"{where}: {item} and {field.type}"]
    if field.message_type.full_name == "google.protobuf.Timestamp":
        return found if item is datetime else [*found, f"{where}: {item} and a timestamp"]
    if not (is_dataclass(item) and isinstance(item, type)):
        return [*found, f"{where}: {item} and {field.message_type.name}"]
    if item.__name__ != field.message_type.name:
        return [*found, f"{where}: {item.__name__} and {field.message_type.name}"]
    return found + differences(item, field.message_type)


def enum_differences(where: str, item: Any, enum: EnumDescriptor) -> list[str]:
    if not (isinstance(item, type) and issubclass(item, IntEnum)):
        return [f"{where}: {item} and {enum.name}"]
    prefix = "".join(f"_{one}" if one.isupper() else one.upper() for one in enum.name).lstrip("_")
    here = {f"{prefix}_{member.name}": member.value for member in item}
    there = {value.name: value.number for value in enum.values}
    return [] if here == there else [f"{where}: {here} and {there}"]


# ---- both sides are equal ------------------------------------------------------------------------


def test_both_sides_have_the_same_kinds() -> None:
    assert sorted(KINDS) == sorted(
        field.message_type.name for field in ONEOF.fields if field.message_type is not None
    )


@pytest.mark.parametrize("name", sorted(KINDS))
def test_record_and_message_have_the_same_fields_and_types(name: str) -> None:
    message = events_pb2.DESCRIPTOR.message_types_by_name[name]
    assert differences(KINDS[name], message) == []


@pytest.mark.parametrize(
    "name",
    ["SecretRef", "Grant", "Channel", "DeliverySettings", "RetryRule", "DeadLetterSelection"],
)
def test_the_records_inside_have_the_same_fields_and_types(name: str) -> None:
    message = events_pb2.DESCRIPTOR.message_types_by_name[name]
    assert differences(record_of(name), message) == []


def test_a_recorded_event_has_the_fields_of_its_message() -> None:
    message = events_pb2.RecordedEvent.DESCRIPTOR
    assert sorted(field.name for field in fields(RecordedEvent)) == sorted(message.fields_by_name)


def test_the_comparison_finds_differences() -> None:
    grant = events_pb2.DESCRIPTOR.message_types_by_name["Grant"]
    assert differences(events.SecretRef, grant)
    disabled = events_pb2.DESCRIPTOR.message_types_by_name["FlowDisabled"]
    assert differences(events.FlowDeleted, disabled) == []


# ---- stored names and golden files ---------------------------------------------------------------


def test_every_kind_has_a_versioned_stored_name_of_its_own() -> None:
    assert len(set(STORED_NAMES)) == len(STORED_NAMES)
    for name in STORED_NAMES:
        assert name.rpartition(".v")[2].isdigit(), name


def test_every_kind_has_a_sample_and_a_golden_file() -> None:
    assert sorted(stored_name(event) for event in SAMPLES) == STORED_NAMES
    missing = {name for event in SAMPLES for name in golden_names(event)} - set(GOLDEN_NAMES)
    assert not missing, "run: python -m tests.golden.add"
    assert sorted(EVENTS.iterdir()) == sorted(
        golden_path(name, suffix) for name in GOLDEN_NAMES for suffix in (".bin", ".json")
    )


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_bytes_that_were_once_written_mean_what_they_meant(name: str) -> None:
    event = decode(golden_path(name, ".bin").read_bytes())
    assert name in golden_names(event)
    told = json.loads(golden_path(name, ".json").read_text(encoding="utf-8"))
    assert contains(as_json(event), told)


@pytest.mark.parametrize("event", SAMPLES, ids=stored_name)
def test_a_golden_file_is_never_overwritten(event: Event) -> None:
    files = [golden_path(name, ".bin") for name in golden_names(event)]
    before = [file.stat().st_mtime_ns for file in files]
    assert add(event) == []
    assert [file.stat().st_mtime_ns for file in files] == before


@pytest.mark.parametrize("event", SAMPLES, ids=stored_name)
def test_a_sample_sets_every_field_to_something(event: Event) -> None:
    unset = [field.name for field in fields(event) if not getattr(event, field.name)]
    assert unset == []


@pytest.mark.parametrize("event", SAMPLES, ids=stored_name)
def test_the_newest_golden_file_of_a_kind_tells_all_of_its_sample(event: Event) -> None:
    newest = golden_path(golden_names(event)[-1], ".bin")
    assert decode(newest.read_bytes()) == event, "name the new fields in samples.GROWN"


@pytest.mark.parametrize("event", SAMPLES, ids=stored_name)
def test_an_event_without_its_newer_fields_has_the_bytes_of_before(event: Event) -> None:
    """So a command that says nothing of what is new writes what a release before would have."""
    first = golden_path(stored_name(event), ".bin").read_bytes()
    assert encode(decode(first)) == first


def contains(new: Any, old: Any) -> bool:
    """Is everything that `old` tells also told by `new`? Fields may have been added since."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(
            key in new and contains(new[key], value) for key, value in old.items()
        )
    if isinstance(old, list):
        return len(new) == len(old) and all(map(contains, new, old))
    return bool(new == old)


# ---- the edges -----------------------------------------------------------------------------------


def test_an_event_of_an_unknown_kind_is_refused() -> None:
    newer = bytes([0xF2, 0x3F, 0x00])  # field 1022, of length 0
    with pytest.raises(ValueError, match="upgrade this service"):
        decode(newer)


def test_an_unknown_number_of_an_enumeration_is_refused() -> None:
    message = events_pb2.Event()
    message.account_created.kind = 99  # type: ignore[assignment]
    with pytest.raises(ValueError, match="99"):
        decode(message.SerializeToString())


def test_a_field_of_a_newer_build_is_passed_over() -> None:
    event = events.FlowDisabled(flow_id="one")
    message = codec.to_message(event)
    newer = message.flow_disabled.SerializeToString() + bytes([0xF2, 0x3F, 0x01, 0x78])
    wrapped = bytes([0xD2, 0x02, len(newer)]) + newer  # field 42, flow_disabled
    assert decode(wrapped) == event


def test_an_absent_record_stays_absent() -> None:
    event = events.FlowCreated(
        flow_id="one", kind=events.FlowKind.CHAIN, owner_id="o", algorithm_id="a"
    )
    assert decode(encode(event)) == event
    assert not codec.to_message(event).flow_created.HasField("channel")


def test_an_event_without_any_field_set_keeps_its_kind() -> None:
    assert decode(encode(events.FlowDeleted(flow_id=""))) == events.FlowDeleted(flow_id="")


def test_the_same_event_always_has_the_same_bytes() -> None:
    assert all(encode(decode(encode(event))) == encode(event) for event in SAMPLES)


def test_a_time_without_a_zone_is_refused() -> None:
    recorded = recorded_at(datetime(2026, 1, 1))  # noqa: DTZ001 - what the test is about
    with pytest.raises(ValueError, match="give aware UTC"):
        codec.recorded_to_message(recorded)


def test_a_recorded_event_survives_the_way_to_bytes_and_back() -> None:
    recorded = recorded_at(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=1))
    data = codec.recorded_to_message(recorded).SerializeToString()
    assert codec.recorded_from_message(events_pb2.RecordedEvent.FromString(data)) == recorded


def recorded_at(time: datetime) -> RecordedEvent:
    return RecordedEvent(
        position=2**40,
        stream_id="stream",
        version=7,
        time=time,
        metadata=events.Metadata(
            actor="service:operator", command_id="c", correlation_id="r", traceparent="t"
        ),
        event=events.FlowDisabled(flow_id="one"),
    )
