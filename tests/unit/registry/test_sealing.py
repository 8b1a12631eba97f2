"""The encoding of the hash chain never changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from registry.ports.event_store import StoredEvent
from sealedlog import sealing

EVENT = StoredEvent(
    position=7,
    stream_id="6f1c2b0e-52a5-5d0c-9d57-3f3b8a3c6e11",
    version=2,
    name="flow.enabled.v1",
    time=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    data=b"data",
    metadata=b"who",
)


def test_a_digest_is_as_docs_events_says() -> None:
    by_hand = (
        (7).to_bytes(8)
        + bytes.fromhex("6f1c2b0e52a55d0c9d573f3b8a3c6e11")
        + (2).to_bytes(4)
        + (1767323045678901).to_bytes(8)
        + (15).to_bytes(4) + b"flow.enabled.v1"
        + (4).to_bytes(4) + b"data"
        + (3).to_bytes(4) + b"who"
    )  # fmt: skip
    assert sealing.digest(EVENT) == sha256(by_hand).digest()


def test_a_link_is_as_docs_events_says() -> None:
    digests = [b"a" * 32, b"b" * 32]
    by_hand = (
        bytes(32) + (1).to_bytes(8) + (2).to_bytes(8) + (1767323045678901).to_bytes(8)
        + b"a" * 32 + b"b" * 32
    )  # fmt: skip
    link = sealing.link(sealing.GENESIS, first=1, last=2, time=EVENT.time, digests=digests)
    assert link == sha256(by_hand).digest()


@pytest.mark.parametrize(
    "other",
    [
        EVENT._replace(position=8),
        EVENT._replace(stream_id="6f1c2b0e-52a5-5d0c-9d57-3f3b8a3c6e12"),
        EVENT._replace(version=3),
        EVENT._replace(name="flow.enabled.v2"),
        EVENT._replace(time=EVENT.time + timedelta(microseconds=1)),
        EVENT._replace(data=b"dat", metadata=b"awho"),
        EVENT._replace(name="flow.enabled.v1d", data=b"ata"),
    ],
)
def test_every_part_of_an_event_is_sealed(other: StoredEvent) -> None:
    assert sealing.digest(other) != sealing.digest(EVENT)
