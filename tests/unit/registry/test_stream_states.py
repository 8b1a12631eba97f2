"""States kept by the archive: what was once kept can be read for ever."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from catalog import codec
from kernel.errors import StateForbids
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


@pytest.mark.parametrize("category", AGGREGATES)
def test_a_state_that_was_once_kept_can_be_read_for_ever(category: str) -> None:
    """The files never change: another shape needs a new format and a way to read the old one."""
    kept = kept_of(category)
    golden = (GOLDEN / f"{FORMATS[category]}.bin").read_bytes()
    stored = StreamState(
        stream_id=STREAM_ID, version=kept.version, format=FORMATS[category], state=golden
    )
    assert decode(stored) == kept


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
