"""States kept by the archive: what was once kept can be read for ever."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from catalog import codec
from kernel.errors import StateForbids
from msgspec import msgpack
from registry.application.stream_states import AGGREGATES, FORMATS, KeptState, decode, encode
from registry.ports.archive import StreamState

from tests.golden.samples import SAMPLES

GOLDEN = Path(__file__).parents[2] / "golden" / "stream_states"
STREAM_ID = "6f1c2b0e-52a5-5d0c-9d57-3f3b8a3c6e11"


def kept_of(category: str) -> KeptState:
    """What the samples of all the category's kinds come to."""
    aggregate = AGGREGATES[category]
    events = [event for event in SAMPLES if isinstance(event, aggregate.kinds)]
    state: Any = aggregate.decider.fold(events)
    return KeptState(aggregate=aggregate, version=len(events), state=state)


def test_every_aggregate_has_a_format() -> None:
    assert FORMATS.keys() == AGGREGATES.keys()


@pytest.mark.parametrize("category", AGGREGATES)
def test_every_kind_is_named_after_its_category(category: str) -> None:
    for event in SAMPLES:
        if isinstance(event, AGGREGATES[category].kinds):
            assert codec.stored_name(event).partition(".")[0] == category


@pytest.mark.parametrize("category", AGGREGATES)
def test_a_state_comes_back_as_it_was(category: str) -> None:
    kept = kept_of(category)
    assert kept.state != kept.aggregate.decider.initial
    stored = encode(STREAM_ID, kept)
    assert (stored.stream_id, stored.version) == (STREAM_ID, kept.version)
    assert decode(stored) == kept


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.bin")), ids=lambda file: file.name)
def test_a_state_that_was_once_kept_can_be_read_for_ever(file: Path) -> None:
    """The files never change: another shape needs a new format and a way to read the old one."""
    stored = StreamState(
        stream_id=STREAM_ID,
        version=7,
        format=file.name.removesuffix(".bin").partition("+")[0],
        state=file.read_bytes(),
    )
    again = encode(STREAM_ID, decode(stored))
    assert (again.version, again.format) == (stored.version, stored.format)
    assert contains(msgpack.decode(again.state), msgpack.decode(stored.state))


@pytest.mark.parametrize("category", AGGREGATES)
def test_the_newest_golden_state_is_what_the_samples_come_to(category: str) -> None:
    """After a new field in a sample: a golden file more, `<format>+<field>.bin`."""
    newest = max(GOLDEN.glob(f"{FORMATS[category]}*.bin"), key=lambda file: len(file.name))
    kept = kept_of(category)
    stored = replace(encode(STREAM_ID, kept), state=newest.read_bytes())
    assert decode(stored) == kept


def contains(new: Any, old: Any) -> bool:
    """Is everything that `old` tells also told by `new`? Fields may have been added since."""
    if isinstance(old, dict):
        return all(key in new and contains(new[key], value) for key, value in old.items())
    if isinstance(old, list):  # of a set, too
        return len(new) == len(old) and all(any(contains(n, o) for n in new) for o in old)
    return bool(new == old)


@pytest.mark.parametrize("format_", ["flow.v9", "window.v1", ""])
def test_a_format_of_another_build_is_refused(format_: str) -> None:
    stored = replace(encode(STREAM_ID, kept_of("flow")), format=format_)
    with pytest.raises(StateForbids, match="does not know"):
        decode(stored)


@pytest.mark.parametrize("state", [b"", b"\xff", b"\x01"])
def test_a_damaged_state_is_refused(state: bytes) -> None:
    stored = replace(encode(STREAM_ID, kept_of("flow")), state=state)
    with pytest.raises(StateForbids, match="cannot be read"):
        decode(stored)
