"""The export as a file: written whole or not at all, read with bounds, verified without a service.

    with ExportWriter(path) as writer:
        async for part in registry.ExportLog(request):
            for record in part.records:
                writer.write(record)
        manifest = writer.complete()

    manifest = verify_file(path, expected=head_kept_elsewhere)

The format stands in docs/events.md. Reading and writing block: use a thread in a busy event loop.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from eventflows.registry.v1 import registry_pb2 as pb
from google.protobuf.message import DecodeError
from kernel.errors import AlreadyExists, InvalidInput, NotFound

from sealedlog.export_check import ExportCheck, MalformedExport, events_of, seal_of
from sealedlog.export_records import RECORD_BYTES_MAX, Manifest, ends_batch, framed
from sealedlog.rows import Event, Seal
from sealedlog.verification import ChainPoint

VARINT_BYTES_MAX: Final = 5
FILE_MODE: Final = 0o600
"""Names, addresses and e-mails of a cluster are in it: for its owner only."""

Progress = Callable[[int], None]
"""Called with the bytes read so far."""


class ExportWriter:
    """Checks the records and writes them beside `path`; `complete` moves them there.

    Left without `complete`, nothing stays. A crash may leave `.<name>.<random>.partial` behind,
    which is safe to delete. Raises InvalidInput when `path` is a folder, AlreadyExists when there
    is a file and `replace` is False, NotFound when its folder is not there; OSError of a disk
    passes.
    """

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        if path.is_dir():
            raise InvalidInput(f"{path} is a folder: name a file in it")
        self._path = path
        self._replace = replace
        self._check = ExportCheck()
        self._partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        self._refuse_existing()
        try:
            descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        except FileNotFoundError as error:
            raise NotFound(f"the folder {self._path.parent} does not exist: make it") from error
        self._file = os.fdopen(descriptor, "wb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
            self._partial.unlink(missing_ok=True)

    @property
    def position(self) -> int:
        """Of the last event of the last whole batch that was written."""
        return self._check.point.position if self._check.point else 0

    def write(self, record: pb.ExportRecord) -> None:
        """The next record. Raises MalformedExport, ChainBroken."""
        assert self._file is not None, "enter the writer first"
        self._check.take(record)
        self._file.write(framed(record))

    def complete(self) -> Manifest:
        """Everything was written: the file is at its path, durably. Raises MalformedExport."""
        assert self._file is not None, "enter the writer first"
        manifest = self._check.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._refuse_existing()
        self._partial.replace(self._path)
        self._file = None
        _sync_folder(self._path.parent)
        return manifest

    def _refuse_existing(self) -> None:
        if not self._replace and self._path.exists():
            raise AlreadyExists(f"{self._path} exists: choose another name or delete it")


def verify_file(
    path: Path, *, expected: ChainPoint | None = None, progress: Progress | None = None
) -> Manifest:
    """Form, chain and trailer of a whole file; `expected` is a head that was kept elsewhere.

    Raises NotFound, MalformedExport, ChainBroken (with the batch).
    """
    with _opened(path) as file:
        return verify(file, expected=expected, progress=progress)


def verify(
    file: BinaryIO, *, expected: ChainPoint | None = None, progress: Progress | None = None
) -> Manifest:
    """`verify_file` on an open file, from where it stands to its end."""
    check = ExportCheck(expected=expected)
    for record in read_records(file, progress=progress):
        check.take(record)
    return check.finish()


def read_file(path: Path, *, progress: Progress | None = None) -> Iterator[pb.ExportRecord]:
    """The records of a file, unverified: `verify_file` comes first. Raises NotFound,
    MalformedExport."""
    with _opened(path) as file:
        yield from read_records(file, progress=progress)


def read_records(file: BinaryIO, *, progress: Progress | None = None) -> Iterator[pb.ExportRecord]:
    """The records from where the file stands to its end. Raises MalformedExport."""
    at = 0
    while (length := _length(file, at)) is not None:
        size, prefix_bytes = length
        body = file.read(size)
        if len(body) < size:
            raise MalformedExport(
                f"the file ends in the middle of the record at byte {at}: it was cut short"
            )
        record = pb.ExportRecord()
        try:
            record.ParseFromString(body)
        except DecodeError as error:
            raise MalformedExport(
                f"the record at byte {at} cannot be read: export again"
            ) from error
        frame = framed(record)
        if frame[-size:] != body or len(frame) != size + prefix_bytes:
            raise MalformedExport(f"the record at byte {at} was altered: export again")
        yield record
        at += len(frame)
        if progress is not None:
            progress(at)


def read_batches(file: BinaryIO) -> Iterator[tuple[Seal, list[Event]]]:
    """Whole batches of a verified file, in order."""
    events: list[Event] = []
    for record in read_records(file):
        if record.WhichOneof("record") != "batch":
            continue
        events.extend(events_of(record.batch))
        if ends_batch(record.batch):
            yield seal_of(record.batch), events
            events = []


def _length(file: BinaryIO, at: int) -> tuple[int, int] | None:
    """Length of the next record and of its prefix; None at the end of the file."""
    size = 0
    for number in range(VARINT_BYTES_MAX):
        byte = file.read(1)
        if not byte:
            if number:
                raise MalformedExport(f"the file ends in the middle of a length at byte {at}")
            return None
        size |= (byte[0] & 0x7F) << (7 * number)
        if byte[0] < 0x80:
            if not 0 < size <= RECORD_BYTES_MAX:
                break
            return size, number + 1
    raise MalformedExport(f"there is no record at byte {at}: this is not an export, or was altered")


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise NotFound(f"{path} cannot be opened: name an export that you may read") from error


def _sync_folder(folder: Path) -> None:
    """The new name is durable too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
