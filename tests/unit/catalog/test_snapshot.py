"""What a snapshot is, and what is refused in place of one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from catalog import columns, snapshot
from catalog.catalog import Catalog, CatalogImage
from catalog.errors import PositionGap, SnapshotUnusable
from catalog.events import BrokerKind
from catalog.records import Flow

from tests.golden import fold
from tests.support.event_log import EventLog, id_of


@pytest.fixture(scope="module")
def log() -> EventLog:
    return fold.history()


@pytest.fixture(scope="module")
def dumped(log: EventLog) -> bytes:
    return b"".join(snapshot.dump(log.catalog()))


def sealed(body: bytes) -> list[bytes]:
    """A snapshot with the right digest over anything."""
    return [body, hashlib.sha256(body).digest()]


def body_of(dumped: bytes) -> bytes:
    return dumped[:-32]


def test_an_empty_catalog_survives() -> None:
    assert snapshot.restore(snapshot.dump(Catalog())).position == 0


def test_a_restored_catalog_stands_where_the_dumped_one_stood(log: EventLog, dumped: bytes) -> None:
    restored = snapshot.restore([dumped])
    assert restored.position == len(log.recorded)
    assert restored.flows() == log.catalog().flows()


def test_a_dump_of_a_restored_catalog_is_the_same_again(dumped: bytes) -> None:
    assert b"".join(snapshot.dump(snapshot.restore([dumped]))) == dumped


def test_what_was_shared_in_memory_is_shared_again(log: EventLog, dumped: bytes) -> None:
    restored = snapshot.restore([dumped])
    enabled = [flow for flow in restored.flows() if flow.settings is not None]
    assert enabled
    for flow in enabled:
        assert flow.settings is flow.last_settings
    acme = restored.account(id_of("acme"))
    assert acme is not None
    assert all(flow.owner_id is acme.account_id for flow in enabled)


def test_no_part_is_larger_than_promised(monkeypatch: pytest.MonkeyPatch, dumped: bytes) -> None:
    monkeypatch.setattr(snapshot, "PART_BYTES_MAX", 100)
    parts = list(snapshot.dump(snapshot.restore([dumped])))
    assert {len(part) for part in parts[:-1]} == {100}
    assert len(parts[-1]) <= 100
    assert b"".join(parts) == dumped


def test_parts_may_be_cut_anywhere(dumped: bytes) -> None:
    pieces = (dumped[at : at + 7] for at in range(0, len(dumped), 7))
    assert snapshot.restore(pieces).position == snapshot.restore([dumped]).position


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [[], [b""], [b"something else"], [b"\0" * 64]])
def test_what_is_no_snapshot_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(SnapshotUnusable, match="no snapshot of a catalog: replay the log"):
        snapshot.restore(parts)


def test_a_snapshot_that_is_cut_off_anywhere_is_refused(dumped: bytes) -> None:
    for end in range(0, len(dumped), 97):
        with pytest.raises(SnapshotUnusable, match="replay the log"):
            snapshot.restore([dumped[:end]])


def test_a_snapshot_with_one_changed_byte_is_refused(dumped: bytes) -> None:
    for at in range(0, len(dumped), 97):
        damaged = bytearray(dumped)
        damaged[at] ^= 1
        with pytest.raises(SnapshotUnusable, match="replay the log"):
            snapshot.restore([bytes(damaged)])


def test_a_snapshot_with_something_after_its_end_is_refused(dumped: bytes) -> None:
    with pytest.raises(SnapshotUnusable, match="damaged or cut off"):
        snapshot.restore([dumped, b"more"])
    with pytest.raises(SnapshotUnusable, match="malformed"):
        snapshot.restore(sealed(body_of(dumped) + b"more"))


def test_a_snapshot_of_another_fold_is_refused(dumped: bytes) -> None:
    other = body_of(dumped).replace(snapshot.FOLD.encode(), b"0" * len(snapshot.FOLD), 1)
    with pytest.raises(SnapshotUnusable, match=f"of another fold than {snapshot.FOLD}"):
        snapshot.restore(sealed(other))


def test_a_snapshot_that_is_too_large_is_refused_before_it_is_taken_in(
    monkeypatch: pytest.MonkeyPatch, dumped: bytes
) -> None:
    monkeypatch.setattr(snapshot, "SNAPSHOT_BYTES_MAX", len(dumped) - 1)

    def endless() -> Iterator[bytes]:
        while True:
            yield dumped

    with pytest.raises(SnapshotUnusable, match="larger than"):
        snapshot.restore(endless())


def frames(dumped: bytes) -> tuple[bytes, list[bytes]]:
    """(head, frames) of a snapshot."""
    start = dumped.index(snapshot.FOLD.encode()) + len(snapshot.FOLD)
    found, at = [], start
    while at < len(dumped) - 32:
        size = 4 + int.from_bytes(dumped[at : at + 4], "big")
        found.append(dumped[at : at + size])
        at += size
    return dumped[:start], found


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    first: Leaf
    second: Leaf | None


def packed() -> list[bytes]:
    """Frames: strings; number of leaves, their names; number of roots, the first, the second."""
    frames = list(columns.pack(Root(first=Leaf(name="one"), second=None)))
    assert frames == [framed(one) for one in (b"\x91\xa3one", b"\x01", b"\x91\x01", b"\x01",
                                              b"\x91\x01", b"\x91\x00")]  # fmt: skip
    return frames


@pytest.mark.parametrize(
    ("at", "column"),
    [
        pytest.param(2, b"\x91\x02", id="a string beyond the table"),
        pytest.param(4, b"\x91\x02", id="a record beyond the table"),
        pytest.param(5, b"\x91\xff", id="a negative number"),
        pytest.param(4, b"\x91\x00", id="nothing where a record must be"),
        pytest.param(2, b"\x91\x00", id="nothing where a string must be"),
        pytest.param(5, b"\x90", id="a column that is too short"),
        pytest.param(5, b"\x92\x00\x00", id="a column that is too long"),
        pytest.param(3, b"\x00", id="no root"),
        pytest.param(1, b"\xff", id="a negative count"),
    ],
)
def test_a_number_that_points_nowhere_is_refused(at: int, column: bytes) -> None:
    frames = packed()
    assert columns.unpack(Root, memoryview(b"".join(frames))).first == Leaf(name="one")
    frames[at] = framed(column)
    with pytest.raises(ValueError, match=r"fit together|values, not|must be there|one record"):
        columns.unpack(Root, memoryview(b"".join(frames)))


@pytest.mark.parametrize(
    "column",
    [b"\x93\x01\x02", b"\x91\xa1x", b"\xc0", b""],
    ids=["cut", "another type", "null", "nothing"],
)
def test_no_malformed_column_goes_through(dumped: bytes, column: bytes) -> None:
    head, known = frames(dumped)
    for at in range(len(known)):
        changed = [*known[:at], framed(column), *known[at + 1 :]]
        with pytest.raises(SnapshotUnusable, match="malformed"):
            snapshot.restore(sealed(head + b"".join(changed)))


def test_a_frame_that_claims_more_than_there_is_is_refused(dumped: bytes) -> None:
    head, known = frames(dumped)
    with pytest.raises(SnapshotUnusable, match="malformed"):
        snapshot.restore(sealed(head + b"\xff\xff\xff\xff" + b"".join(known)))


# ---- where it begins -----------------------------------------------------------------------------


def test_a_catalog_that_has_read_nothing_begins_with_a_snapshot(
    log: EventLog, dumped: bytes
) -> None:
    catalog = Catalog()
    catalog.begin_with(snapshot.restore_image([dumped]))
    assert catalog.flows() == log.catalog().flows()
    assert catalog.position == len(log.recorded)


def test_a_catalog_that_has_read_something_does_not_begin_anew(dumped: bytes) -> None:
    log = EventLog()
    log.account("other")
    catalog = log.catalog()
    with pytest.raises(PositionGap, match="read the log after position 1"):
        catalog.begin_with(snapshot.restore_image([dumped]))
    assert [account.username for account in catalog.accounts()] == ["other"]


def test_later_events_do_not_change_an_image(log: EventLog) -> None:
    catalog = log.catalog()
    before = catalog.image()
    kept = columns.pack(before)
    more = fold.history()
    more.subscribe("plant", "late", "acme/digits")
    more.listener("acme/digits", "https://queue.example.test/9", BrokerKind.SQS)
    more.algorithm("acme/late")
    for recorded in more.recorded[len(log.recorded) :]:
        catalog.apply(recorded)
    assert columns.pack(before) == kept
    assert Catalog.of(before).position == len(log.recorded)


# ---- the fold's name -----------------------------------------------------------------------------


def test_the_fold_of_a_fixed_history_is_the_one_that_was_noted() -> None:
    noted = json.loads(fold.NOTE.read_text())
    assert noted == fold.current(), (
        "the same events come to another catalog, or its records changed: raise FOLD_VERSION in "
        "catalog.snapshot unless FOLD has changed by itself, then run python -m tests.golden.fold"
    )


def test_a_changed_record_changes_the_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    before = columns.shape_of(CatalogImage)
    assert "Flow(flow_id: str, kind: FlowKind[UNSPECIFIED=0, SUBSCRIBER=1" in before
    fields_of: Any = columns._fields
    monkeypatch.setattr(
        columns,
        "_fields",
        lambda kind: [*fields_of(kind), *([("more", int)] if kind is Flow else [])],
    )
    assert columns.shape_of(CatalogImage) != before
