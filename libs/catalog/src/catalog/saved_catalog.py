"""A follower's own snapshot on disk, so that a restart need not wait for the registry.

    one line of JSON: the last event (`LastEvent`) ‖ a snapshot (`catalog.snapshot`)

The file's time of modification says how fresh it is: then the registry was last heard of, and this
was all there was. It appears whole or not at
all, only its owner may read it, and it holds no secrets. Price: a copy of the catalog on each host.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from catalog import snapshot
from catalog.catalog import Catalog, CatalogImage
from catalog.errors import SnapshotUnusable
from catalog.events import RecordedEvent

FIRST_LINE_BYTES_MAX: Final = 4096
WRITE_EVERY_S: Final = 60.0
AGE_MAX_S: Final = 300.0
"""While the registry is away an older file is no ground to go on: too much may have changed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastEvent:
    """What tells one log from another: two logs never share the event at a position."""

    position: int
    stream_id: str
    version: int
    time: str
    command_id: str

    @classmethod
    def of(cls, recorded: RecordedEvent) -> LastEvent:
        """Of the newest event that a catalog has applied."""
        return cls(
            position=recorded.position,
            stream_id=recorded.stream_id,
            version=recorded.version,
            time=recorded.time.isoformat(),
            command_id=recorded.metadata.command_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCatalog:
    """What a file held. `age_s`: seconds since the registry was last heard of."""

    last: LastEvent
    image: CatalogImage
    age_s: float


class SnapshotFile:
    """One file; several processes may have the same one, since what they write is alike."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> SavedCatalog | None:
        """What was saved; None when there is no file.

        Raises SnapshotUnusable for one that is damaged or of another fold, OSError.
        """
        try:
            with self._path.open("rb") as file:
                heard_s = os.fstat(file.fileno()).st_mtime
                first = file.readline(FIRST_LINE_BYTES_MAX)
                parts = iter(lambda: file.read(snapshot.PART_BYTES_MAX), b"")
                last = msgspec.json.decode(first, type=LastEvent)
                image = snapshot.restore_image(parts, for_good=True)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise SnapshotUnusable("the file does not begin with its last event") from error
        if image.position != last.position:
            raise SnapshotUnusable("the file's last event is not that of its snapshot")
        return SavedCatalog(last=last, image=image, age_s=max(0.0, time.time() - heard_s))

    def write(self, image: CatalogImage, last: LastEvent, *, age_s: float) -> None:
        """Put these, which were true `age_s` ago, in place of what was there.

        Raises OSError; then the old file stands.
        """
        unfinished = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(last) + b"\n")
                for part in snapshot.dump_image(image):
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            _set_age(unfinished, age_s)
            unfinished.replace(self._path)
        finally:
            unfinished.unlink(missing_ok=True)

    def touch(self, *, age_s: float) -> None:
        """What the file holds was still all there was `age_s` ago. Raises OSError."""
        _set_age(self._path, age_s)

    def remove(self) -> None:
        """Forget it. Harmless twice. Raises OSError."""
        self._path.unlink(missing_ok=True)


def _set_age(path: Path, age_s: float) -> None:
    heard_s = time.time() - age_s
    os.utime(path, (heard_s, heard_s))


class SavedCatalogs:
    """Reads the file once and keeps it up to date afterwards. Without a path it does nothing.

    `last` is the newest event that was applied; `unconfirmed` is what was read, until the registry
    has said whether it is of its log.
    """

    def __init__(self, path: Path | None, *, clock: Callable[[], float]) -> None:
        self._file = None if path is None else SnapshotFile(path)
        self._clock = clock
        self._read_s = 0.0
        self._written_position = 0
        self.last: LastEvent | None = None
        self.unconfirmed: SavedCatalog | None = None

    @property
    def enabled(self) -> bool:
        """Is there a file?"""
        return self._file is not None

    def fresh(self) -> SavedCatalog | None:
        """What was read, if it is fresh enough to go on with while the registry is away."""
        saved = self.unconfirmed
        return None if saved is None or self.age_s(saved) > AGE_MAX_S else saved

    def age_s(self, saved: SavedCatalog) -> float:
        """Seconds since the registry was heard of."""
        return saved.age_s + self._clock() - self._read_s

    @asynccontextmanager
    async def kept(
        self, state: Callable[[], tuple[Catalog, float]], *, replaced: type[Exception]
    ) -> AsyncIterator[None]:
        """Read now, write every WRITE_EVERY_S and at the end. `state` gives (catalog, staleness).

        A file that cannot be used or written is logged and costs nothing else. After an error of
        the kind `replaced` the file is removed: it is of another log.
        """
        if self._file is None:
            yield
            return
        await asyncio.to_thread(self._read, self._file)
        writing = asyncio.create_task(self._write_regularly(self._file, state))
        try:
            yield
        except replaced:
            self._file.remove()
            raise
        except asyncio.CancelledError:
            writing.cancel()
            await asyncio.wait({writing})
            self._prepared(self._file, *state())()
            raise
        finally:
            writing.cancel()

    def _read(self, file: SnapshotFile) -> None:
        self._read_s = self._clock()
        try:
            self.unconfirmed = file.read()
        except (SnapshotUnusable, OSError) as error:
            _log.warning("the local snapshot is no use: %s", error)
        if self.unconfirmed is not None:
            self.last = self.unconfirmed.last
            self._written_position = self.unconfirmed.last.position

    async def _write_regularly(
        self, file: SnapshotFile, state: Callable[[], tuple[Catalog, float]]
    ) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            write = self._prepared(file, *state())
            await asyncio.to_thread(write)

    def _prepared(self, file: SnapshotFile, catalog: Catalog, age_s: float) -> Callable[[], None]:
        """What has to be written, as the catalog stands now; any thread may do it."""
        last = self.last
        if last is None or last.position != catalog.position or math.isinf(age_s):
            return _nothing  # nothing is known of this log yet
        image = None if last.position == self._written_position else catalog.image()

        def write() -> None:
            try:
                if image is None:
                    file.touch(age_s=age_s)
                else:
                    file.write(image, last, age_s=age_s)
                    self._written_position = last.position
            except OSError as error:
                self._written_position = 0
                _log.warning("the local snapshot cannot be written: %s", error)

        return write


def _nothing() -> None:
    """For a catalog that is not worth a file."""
