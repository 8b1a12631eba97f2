"""Any event of any kind survives the way to bytes and back."""

from __future__ import annotations

import types
from dataclasses import fields
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from catalog import codec
from catalog.codec import KINDS, decode, encode
from catalog.events import Metadata, RecordedEvent
from eventflows.events.v1 import events_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

EXAMPLES = 60
INT32 = st.integers(min_value=-(2**31), max_value=2**31 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    bytes: st.binary(max_size=40),
    bool: st.booleans(),
    int: INT32,
    float: st.floats(allow_nan=False),
    datetime: TIMES,
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Anything that an annotation allows, within the range of its protobuf type."""
    if get_origin(hint) is tuple:
        return st.lists(values(get_args(hint)[0]), max_size=4).map(tuple)
    if get_origin(hint) in (Union, types.UnionType):
        return st.one_of(
            [st.none() if one is type(None) else values(one) for one in get_args(hint)]
        )
    if hint in SCALARS:
        return SCALARS[hint]
    if issubclass(hint, IntEnum):
        return st.sampled_from(hint)
    return records(hint)


def records(kind: type) -> st.SearchStrategy[Any]:
    """Any record of a class, every field given."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: values(hints[field.name]) for field in fields(kind)})


@pytest.mark.parametrize("name", sorted(KINDS))
def test_any_event_survives_the_way_to_bytes_and_back(name: str) -> None:
    @settings(max_examples=EXAMPLES, deadline=None)
    @given(records(KINDS[name]))
    def survives(event: Any) -> None:
        data = encode(event)
        assert decode(data) == event
        assert encode(decode(data)) == data

    survives()


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    event=st.sampled_from(sorted(KINDS)).flatmap(lambda name: records(KINDS[name])),
    position=st.integers(min_value=1, max_value=2**63 - 1),
    version=st.integers(min_value=1, max_value=2**31 - 1),
    time=TIMES,
    metadata=records(Metadata),
)
def test_any_recorded_event_survives_the_way_to_bytes_and_back(
    event: Any, position: int, version: int, time: datetime, metadata: Metadata
) -> None:
    recorded = RecordedEvent(
        position=position,
        stream_id="stream",
        version=version,
        time=time,
        metadata=metadata,
        event=event,
    )
    data = codec.recorded_to_message(recorded).SerializeToString()
    assert codec.recorded_from_message(events_pb2.RecordedEvent.FromString(data)) == recorded
