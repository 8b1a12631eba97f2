"""Reading snapshots, whichever of the kept ones is sound."""

from __future__ import annotations

import asyncio
import logging

from catalog import snapshot
from catalog.catalog import CatalogImage
from catalog.errors import SnapshotUnusable
from kernel.errors import NotFound

from registry.ports.snapshots import Snapshot, Snapshots

_log = logging.getLogger(__name__)


async def newest_image(
    snapshots: Snapshots, *, at_most: int | None = None, for_good: bool = False
) -> CatalogImage | None:
    """The newest sound snapshot of this build's fold with a position up to `at_most`, or None.

    A damaged one is logged, and the one before it is taken. The image is the caller's own;
    `for_good`: the process starts with it and keeps it.
    """
    found = await snapshots.newest(fold=snapshot.FOLD, at_most=at_most)
    while found is not None:
        image = await _image(snapshots, found, for_good=for_good)
        if image is not None:
            return image
        found = await snapshots.newest(fold=snapshot.FOLD, at_most=found.position - 1)
    return None


async def _image(snapshots: Snapshots, found: Snapshot, *, for_good: bool) -> CatalogImage | None:
    try:
        parts = [part async for part in snapshots.read(found)]
        image = await asyncio.to_thread(snapshot.restore_image, parts, for_good=for_good)
        if image.position != found.position:
            raise SnapshotUnusable(f"it is of position {image.position}: replay the log")
    except (SnapshotUnusable, NotFound) as error:
        _log.error("a snapshot is no use", extra={"position": found.position, "why": str(error)})
        return None
    return image
