"""Export files: whole or not at all; every damage is one clear sentence."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import AlreadyExists, InvalidInput, NotFound
from sealedlog.export_check import ExportCheck, MalformedExport
from sealedlog.export_file import ExportWriter, read_batches, read_file, verify_file
from sealedlog.export_records import (
    PART_BYTES_FULL,
    RECORD_BYTES_FULL,
    RECORD_BYTES_MAX,
    framed,
    parts_of,
)
from sealedlog.verification import ChainBroken, ChainPoint

from tests.support.sealed_logs import batches_of, changed, records_of, write_export

SIZES = (3, 3, 1, 4)


def test_a_file_holds_the_batches_that_went_in(tmp_path: Path) -> None:
    batches = batches_of(*SIZES)
    path = tmp_path / "log.export"
    written = write_export(path, records_of(batches))
    seen: list[int] = []
    assert verify_file(path, progress=seen.append) == written
    assert (written.events, written.batches, written.last.position) == (11, 4, 11)
    assert seen[-1] == path.stat().st_size
    with path.open("rb") as file:
        assert list(read_batches(file)) == batches
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_batch_larger_than_a_message_goes_in_several_records(tmp_path: Path) -> None:
    batches = batches_of(2, 256, 1, data_bytes=40_000)
    records = records_of(batches)
    assert max(record.ByteSize() for record in records) < RECORD_BYTES_MAX
    assert sum(record.WhichOneof("record") == "batch" for record in records) > len(batches)
    path = tmp_path / "log.export"
    assert write_export(path, records).batches == 3
    with path.open("rb") as file:
        assert list(read_batches(file)) == batches


def test_an_export_of_nothing_is_an_export(tmp_path: Path) -> None:
    path = tmp_path / "log.export"
    write_export(path, records_of([]))
    assert verify_file(path).events == 0


def test_an_export_begins_after_any_seal(tmp_path: Path) -> None:
    batches = batches_of(*SIZES)
    after = ChainPoint(position=6, hash=batches[1][0].hash)
    path = tmp_path / "log.export"
    write_export(path, records_of(batches[2:], after=after))
    assert verify_file(path).after == after


def test_nothing_stays_of_an_export_that_was_not_completed(tmp_path: Path) -> None:
    records = records_of(batches_of(*SIZES))
    with pytest.raises(MalformedExport, match="cut short after event 6"):
        write_export(tmp_path / "log.export", records[:3])
    with ExportWriter(tmp_path / "log.export") as writer:
        writer.write(records[0])
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "log.export"
    first = write_export(path, records_of(batches_of(1)))
    with pytest.raises(AlreadyExists):
        write_export(path, records_of(batches_of(2)))
    assert verify_file(path) == first
    with ExportWriter(path, replace=True) as writer:
        for record in records_of(batches_of(2)):
            writer.write(record)
        writer.complete()
    assert verify_file(path).events == 2


def test_a_folder_or_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        write_export(tmp_path / "none" / "log.export", [])
    with pytest.raises(NotFound, match="cannot be opened"):
        verify_file(tmp_path / "none.export")
    with pytest.raises(NotFound, match="cannot be opened"):
        list(read_file(tmp_path))


def test_the_expected_head_is_asked_of_a_file_too(tmp_path: Path) -> None:
    batches = batches_of(*SIZES)
    path = tmp_path / "log.export"
    write_export(path, records_of(batches[:2]))
    kept = ChainPoint(position=11, hash=batches[-1][0].hash)
    with pytest.raises(ChainBroken, match="its end was cut off"):
        verify_file(path, expected=kept)


@pytest.mark.parametrize("kept_bytes", [1, 20, 60, 500, -1, -40, -120])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, kept_bytes: int) -> None:
    path = tmp_path / "log.export"
    write_export(path, records_of(batches_of(*SIZES)))
    content = path.read_bytes()
    path.write_bytes(content[:kept_bytes])
    with pytest.raises(MalformedExport, match=r"cut short|ends in the middle"):
        verify_file(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"a line of text\n", b"\xff" * 100, b"\x00" * 100, b"\x80\x80\x80\x80\x80\x01", b"{}"],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.export"
    path.write_bytes(content)
    with pytest.raises(MalformedExport):
        verify_file(path)


def _drop(number: int) -> Callable[[list[pb.ExportRecord]], None]:
    return lambda records: records.pop(number) and None


def _swap(one: int, other: int) -> Callable[[list[pb.ExportRecord]], None]:
    def swap(records: list[pb.ExportRecord]) -> None:
        records[one], records[other] = records[other], records[one]

    return swap


def _edit(number: int, field: str, value: object) -> Callable[[list[pb.ExportRecord]], None]:
    def edit(records: list[pb.ExportRecord]) -> None:
        message = getattr(records[number], records[number].WhichOneof("record") or "")
        setattr(message, field, value)

    return edit


def _unknown(records: list[pb.ExportRecord]) -> None:
    records.insert(2, pb.ExportRecord())


def _secret(records: list[pb.ExportRecord]) -> None:
    records.insert(-1, pb.ExportRecord(secret=pb.ExportedSecret(secret_id="x")))


def _no_events(records: list[pb.ExportRecord]) -> None:
    del records[2].batch.events[:]


def _another_event(records: list[pb.ExportRecord]) -> None:
    records[2].batch.events.append(records[2].batch.events[0])


def _shouted_stream(records: list[pb.ExportRecord]) -> None:
    records[2].batch.events[0].stream_id = "{" + records[2].batch.events[0].stream_id + "}"


DAMAGES: dict[str, tuple[Callable[[list[pb.ExportRecord]], None], str]] = {
    "no header": (_drop(0), "one header"),
    "no trailer": (_drop(-1), "no trailer"),
    "a batch gone": (_drop(2), "does not follow event 3"),
    "two batches swapped": (_swap(2, 3), "does not follow event 3"),
    "the trailer in the middle": (_swap(2, -1), "the head is at 11"),
    "a record twice": (lambda records: records.insert(2, records[2]), "does not follow event 6"),
    "two headers": (lambda records: records.insert(1, records[0]), "one header"),
    "a record after the trailer": (
        lambda records: records.append(records[-1]), "goes on after its trailer",
    ),
    "an unknown record": (_unknown, "unknown kind|no record"),
    "another format": (_edit(0, "format", "eventflows.log.v9"), "format is not"),
    "another beginning": (_edit(0, "after_position", 3), "does not follow event 3"),
    "a beginning of nowhere": (_edit(0, "after_hash", b"x"), "a hash of 32 bytes"),
    "another header": (_edit(0, "recipient", "ops"), "another SHA-256"),
    "a secret for nobody": (_secret, "secrets for nobody"),
    "no events": (_no_events, "event 4 is missing"),
    "an event more": (_another_event, "event 7 does not belong to events 4 to 6"),
    "a first event that is none": (_edit(2, "first_event", 5), "event 4 is missing"),
    "no seal": (_edit(2, "hash", b""), "has no seal"),
    "a time beyond dates": (_edit(2, "time_us", 2**62), "beyond all dates"),
    "another time": (_edit(2, "time_us", 2**40), "not later than the one before"),
    "a stream of another form": (_shouted_stream, "event 4 is not an event of the log"),
    "other counts": (_edit(-1, "events", 10), "other counts"),
    "another end": (_edit(-1, "last_position", 10), "the head is at 10"),
    "another hash at the end": (_edit(-1, "last_hash", bytes(32)), "another hash"),
    "another sum": (_edit(-1, "sha256", bytes(32)), "another SHA-256"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_export_is_refused_with_the_reason(tmp_path: Path, damage: str) -> None:
    apply, reason = DAMAGES[damage]
    records = records_of(batches_of(*SIZES))
    apply(records)
    path = tmp_path / "log.export"
    path.write_bytes(b"".join(framed(record) for record in records))
    with pytest.raises(InvalidInput, match=reason):
        verify_file(path)
    with pytest.raises(InvalidInput, match=reason):
        write_export(tmp_path / "other.export", records)
    assert not (tmp_path / "other.export").exists()


def test_a_changed_event_is_found_in_its_batch_of_the_file(tmp_path: Path) -> None:
    batches = batches_of(*SIZES)
    batches[1][1][1] = changed(batches[1][1][1], data=b"x")
    path = tmp_path / "log.export"
    path.write_bytes(b"".join(framed(record) for record in records_of(batches)))
    with pytest.raises(ChainBroken, match="events 4 to 6 are not those that were sealed"):
        verify_file(path)


def test_a_batch_that_is_not_complete_before_the_next_is_refused() -> None:
    records = records_of(batches_of(2, 64, 1, data_bytes=40_000))
    del records[3]
    check = ExportCheck()
    for record in records[:3]:
        check.take(record)
    with pytest.raises(MalformedExport, match="3 to 66"):
        check.take(records[3])


def test_a_record_beyond_the_limit_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "log.export"
    path.write_bytes(b"\xff\xff\xff\xff\x0f" + bytes(10))
    with pytest.raises(MalformedExport, match="no record at byte 0"):
        verify_file(path)


def test_a_file_is_read_with_no_seeking() -> None:
    batches = batches_of(*SIZES)
    stream = io.BytesIO(b"".join(framed(record) for record in records_of(batches)))
    assert [replace(seal) for seal, _ in read_batches(stream)] == [seal for seal, _ in batches]


def test_small_records_share_a_message_and_large_ones_have_their_own() -> None:
    records = records_of(batches_of(*[1] * 2_000))
    parts = list(parts_of(records))
    assert [record for part in parts for record in part.records] == records
    assert 1 < len(parts) < 10
    large = records_of(batches_of(5, data_bytes=RECORD_BYTES_FULL // 2))
    parts = list(parts_of(large))
    assert [record for part in parts for record in part.records] == large
    assert all(part.ByteSize() <= PART_BYTES_FULL * 1.1 or len(part.records) == 1 for part in parts)
    assert list(parts_of([])) == []


def test_a_header_that_nobody_wrote_is_refused() -> None:
    for change, words in (
        (lambda header: header.exported_at.FromJsonString("2026-01-01T00:00:00Z"), ""),
        (lambda header: setattr(header.exported_at, "seconds", 2**62), "beyond all dates"),
        (lambda header: setattr(header, "recipient", "x" * 201), "no name"),
        (lambda header: setattr(header, "recipient", "ops\x1b[2J"), "no name"),
    ):
        record = records_of([])[0]
        change(record.header)
        if not words:
            ExportCheck().take(record)
            continue
        with pytest.raises(MalformedExport, match=words):
            ExportCheck().take(record)


def test_a_batch_beyond_what_a_log_appends_is_refused_before_it_is_in_memory() -> None:
    check = ExportCheck()
    header, first, *_ = records_of(batches_of(2))
    first.batch.last_position = 2**40
    check.take(header)
    with pytest.raises(MalformedExport, match="more than a batch has"):
        check.take(first)
    check = ExportCheck()
    header, *large = records_of(batches_of(40, data_bytes=500_000))
    check.take(header)
    for record in large[:11]:
        check.take(record)
    with pytest.raises(MalformedExport, match="more than a batch has"):
        check.take(large[11])
