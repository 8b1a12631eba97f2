"""A catalog as bytes and back: a cache of the fold, so that a start need not replay the log.

    MAGIC ‖ length of FOLD (1 byte) ‖ FOLD ‖ columns (`catalog.columns`) ‖ SHA-256 of all before it

A snapshot is worth something only to the fold that made it: FOLD is FOLD_VERSION, raised by hand
when `apply` comes to another result on the same events, and a fingerprint of the shape of every
record of the catalog, which changes by itself when a record does. A test folds a fixed history and
fails when its result changed while FOLD did not. It holds no secrets: the catalog has none.

Price: whoever upgrades replays the log once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from catalog import columns
from catalog.catalog import Catalog, CatalogImage
from catalog.errors import SnapshotUnusable

FOLD_VERSION: Final = 1
"""Raise it when the same events come to another catalog than before."""
_SHAPE: Final = hashlib.sha256(columns.shape_of(CatalogImage).encode()).hexdigest()
FOLD: Final = f"{FOLD_VERSION}-{_SHAPE[:16]}"
"""Names the fold of this build. Another one: the snapshot is no use, replay the log."""

CODE_OTHER_FOLD: Final = 9015
"""With which a registry refuses a reader of another fold: no fault of the moment asked for."""

PART_BYTES_MAX: Final = 256 * 1024
SNAPSHOT_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Some 10 million flows. More is refused on both sides."""

_MAGIC: Final = b"eventflows catalog snapshot\n"
_DIGEST_BYTES: Final = 32
_REPLAY: Final = "replay the log in its place"


def dump(catalog: Catalog) -> Iterator[bytes]:
    """The catalog as it stands at this call, in parts of at most PART_BYTES_MAX.

    The catalog is copied now (some 10 ms at 100,000 flows) and may go on at once; the parts are
    made when they are asked for, in any thread.
    """
    return dump_image(catalog.image())


def dump_image(image: CatalogImage) -> Iterator[bytes]:
    """The same for an image. Equal images of one fold give catalogs that answer alike."""
    return _parts(_checked_out(image))


def restore(parts: Iterable[bytes]) -> Catalog:
    """A catalog equal to the one that was dumped, in every look-up and every order.

    Raises SnapshotUnusable when anything is damaged, missing, too much, or of another fold.
    """
    return Catalog.of(restore_image(parts))


def restore_image(parts: Iterable[bytes], *, for_good: bool = False) -> CatalogImage:
    """The image of the catalog that was dumped. Raises SnapshotUnusable as `restore` does.

    `for_good`: for the catalog that a process starts with and keeps; see `columns.unpack`.
    """
    data = _whole(parts)
    try:
        image = columns.unpack(CatalogImage, data, for_good=for_good)
    except ValueError as error:
        raise SnapshotUnusable(f"the snapshot is malformed ({error}): {_REPLAY}") from error
    if image.position < 0:
        raise SnapshotUnusable(f"the snapshot has a negative position: {_REPLAY}")
    return image


def _checked_out(image: CatalogImage) -> Iterator[bytes]:
    """Head, frames, digest."""
    digest = hashlib.sha256()
    for piece in (_head(FOLD), *columns.pack(image)):
        digest.update(piece)
        yield piece
    yield digest.digest()


def _parts(pieces: Iterable[bytes]) -> Iterator[bytes]:
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        start = 0
        while len(waiting) - start >= PART_BYTES_MAX:
            yield bytes(memoryview(waiting)[start : start + PART_BYTES_MAX])
            start += PART_BYTES_MAX
        del waiting[:start]
    if waiting:
        yield bytes(waiting)


def _whole(parts: Iterable[bytes]) -> memoryview:
    """The columns between head and digest, once both were found right."""
    data = bytearray()
    for part in parts:
        data += part
        if len(data) > SNAPSHOT_BYTES_MAX:
            raise SnapshotUnusable(
                f"the snapshot is larger than {SNAPSHOT_BYTES_MAX} bytes: {_REPLAY}"
            )
    if not data.startswith(_MAGIC):
        raise SnapshotUnusable(f"this is no snapshot of a catalog: {_REPLAY}")
    whole = memoryview(data).toreadonly()
    body, digest = whole[:-_DIGEST_BYTES], whole[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise SnapshotUnusable(f"the snapshot is damaged or cut off: {_REPLAY}")
    head = _head(FOLD)
    if body[: len(head)] != head:
        raise SnapshotUnusable(f"the snapshot is of another fold than {FOLD}: {_REPLAY}")
    return body[len(head) :]


def _head(fold: str) -> bytes:
    return _MAGIC + bytes([len(fold)]) + fold.encode()
