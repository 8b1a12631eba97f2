"""Old partitions of the log go to files: exported, verified, detached, verified again, dropped.

    attached ── export, verify, keep states, detach ──▶ detached ── verify again, drop ──▶ dropped

Every step is durable before the next begins and can be repeated, so an archiving that was
interrupted goes on where it was when it is started again with the same folder. What the log still
needs of archived events stays in it: the seals, and what each of their streams had come to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from catalog import snapshot
from kernel.errors import InvalidInput, NotFound, StateForbids
from sealedlog.export_file import ExportWriter, verify_file
from sealedlog.export_records import Manifest
from sealedlog.verification import BEGINNING, ChainPoint

from registry.application.export import Exporter
from registry.application.projection import recorded
from registry.application.stream_states import AGGREGATES, KeptState, decode, encode
from registry.ports.archive import (
    STATES_PER_CALL_MAX,
    ArchivedPartition,
    LogArchive,
    LogParts,
    Partition,
)
from registry.ports.event_store import Archived, EventStore, StoredEvent
from registry.ports.snapshots import Snapshots

SNAPSHOTS_ABOVE: Final = 2
"""So many snapshots must lie above what is archived: one may turn out to be useless."""
STATES_IN_MEMORY_MAX: Final = 50_000
PAGE_EVENTS_MAX: Final = 5_000

_log = logging.getLogger(__name__)


async def beginning(parts: LogParts, after: ChainPoint) -> ChainPoint:
    """Where a walk that should begin after `after` can begin: after the archive, when the whole log
    was meant. Raises Archived for another point below its end."""
    archived = await parts.archived()
    if archived is None or after.position >= archived.sealed.position:
        return after
    if after.position > 0:
        raise Archived(archived.sealed.position)
    return archived.sealed


class Archiver:
    """Archives what lies below a position, partition by partition."""

    def __init__(
        self,
        *,
        store: EventStore,
        parts: LogParts,
        archive: LogArchive,
        snapshots: Snapshots,
        exporter: Exporter,
    ) -> None:
        self._store = store
        self._parts = parts
        self._archive = archive
        self._snapshots = snapshots
        self._exporter = exporter

    async def run(self, *, below: int, folder: Path) -> Sequence[Path]:
        """Archive every partition whose last batch ends at or below `below`; their files.

        First finishes what an earlier run began, so give it the same folder. Raises InvalidInput,
        NotFound (no folder), StateForbids (not below the snapshots; a file is not what it was).
        """
        if below < 1:
            raise InvalidInput("below must be a position of 1 or more")
        if not await asyncio.to_thread(folder.is_dir):
            raise NotFound(f"the folder {folder} does not exist: make it")
        files = [
            await self._drop(one, folder)
            for one in await self._archive.archived_partitions()
            if not one.dropped
        ]
        await self._check_snapshots(below)
        for partition in await self._archive.partitions():
            sealed = await self._end_of(partition)
            if sealed is None or sealed.position > below:
                break
            files.append(await self._archive_one(partition, sealed, folder))
        return files

    async def _check_snapshots(self, below: int) -> None:
        positions = await self._snapshots.positions(fold=snapshot.FOLD)
        newest = positions[-SNAPSHOTS_ABOVE] if len(positions) >= SNAPSHOTS_ABOVE else 0
        if below > newest:
            raise StateForbids(
                f"the log can be archived up to its second newest snapshot, which is at {newest}: "
                "name a position at or below it"
            )

    async def _end_of(self, partition: Partition) -> ChainPoint | None:
        """The end of the batch that ends the partition; None while the log is not there yet."""
        seals = await self._store.seals(partition.last_position - 1, limit=1)
        if not seals:
            return None
        return ChainPoint(position=seals[0].last_position, hash=seals[0].hash)

    async def _archive_one(self, partition: Partition, sealed: ChainPoint, folder: Path) -> Path:
        newest = await self._parts.archived()
        after = newest.sealed if newest else BEGINNING
        path = folder / _file_name(after, sealed)
        if not path.exists():
            await self._export(path, after, sealed)
        manifest = await _verified(path, after, sealed)
        await self._keep_states(partition)
        await self._archive.detach(partition, sealed=sealed, file_sha256=manifest.sha256)
        _log.info(
            "a partition of the log was detached",
            extra={"first": partition.first_position, "last": partition.last_position},
        )
        return await self._drop(
            ArchivedPartition(
                partition=partition, sealed=sealed, file_sha256=manifest.sha256, dropped=False
            ),
            folder,
        )

    async def _export(self, path: Path, after: ChainPoint, sealed: ChainPoint) -> None:
        with ExportWriter(path) as writer:
            async for record in self._exporter.records(after, to_position=sealed.position):
                await asyncio.to_thread(writer.write, record)
            await asyncio.to_thread(writer.complete)

    async def _drop(self, one: ArchivedPartition, folder: Path) -> Path:
        path = _file_ending_at(folder, one.sealed)
        manifest = await asyncio.to_thread(verify_file, path, expected=one.sealed)
        if manifest.sha256 != one.file_sha256:
            raise StateForbids(
                f"{path} is not the file that events {one.partition.first_position} to "
                f"{one.partition.last_position} were archived to: put that one back"
            )
        await self._archive.drop(one.partition, file_sha256=one.file_sha256)
        _log.info("a partition of the log was archived", extra={"file": path.name})
        return path

    async def _keep_states(self, partition: Partition) -> None:
        """What each stream of the partition had come to at its end, folded from its events."""
        states: dict[str, KeptState] = {}
        position = partition.first_position - 1
        while position < partition.last_position:
            limit = min(PAGE_EVENTS_MAX, partition.last_position - position)
            page = await self._store.read(position, limit=limit)
            if not page:
                raise StateForbids("the log has no such events: verify it")
            for event in page:
                await self._evolve(states, event)
            position = page[-1].position
            if len(states) > STATES_IN_MEMORY_MAX:
                await self._flush(states)
        await self._flush(states)

    async def _evolve(self, states: dict[str, KeptState], event: StoredEvent) -> None:
        kept = states.get(event.stream_id)
        if kept is None:
            kept = await self._kept_before(event)
        if event.version <= kept.version:  # kept by a run that was interrupted
            return
        state = kept.aggregate.decider.evolve(kept.state, recorded(event).event)
        states[event.stream_id] = KeptState(
            aggregate=kept.aggregate, version=event.version, state=state
        )

    async def _kept_before(self, event: StoredEvent) -> KeptState:
        aggregate = AGGREGATES[event.category]
        stored = await self._parts.state_of(event.stream_id)
        kept = (
            decode(stored)
            if stored
            else KeptState(aggregate=aggregate, version=0, state=aggregate.decider.initial)
        )
        if kept.version < event.version - 1:
            raise StateForbids(
                f"the state of stream {event.stream_id} before event {event.position} is not kept: "
                "verify the log"
            )
        return kept

    async def _flush(self, states: dict[str, KeptState]) -> None:
        encoded = [encode(stream_id, kept) for stream_id, kept in states.items()]
        for begin in range(0, len(encoded), STATES_PER_CALL_MAX):
            await self._archive.keep_states(encoded[begin : begin + STATES_PER_CALL_MAX])
        states.clear()


def _file_name(after: ChainPoint, sealed: ChainPoint) -> str:
    return f"log-{after.position + 1:015d}-{sealed.position:015d}.export"


def _file_ending_at(folder: Path, sealed: ChainPoint) -> Path:
    found = sorted(folder.glob(f"log-*-{sealed.position:015d}.export"))
    if len(found) != 1:
        raise NotFound(
            f"{folder} must hold the one file of the archive that ends at event {sealed.position}: "
            "name the folder of the run that was interrupted"
        )
    return found[0]


async def _verified(path: Path, after: ChainPoint, sealed: ChainPoint) -> Manifest:
    manifest = await asyncio.to_thread(verify_file, path, expected=sealed)
    if (manifest.after, manifest.last) != (after, sealed):
        raise StateForbids(f"{path} is an export of something else: move it away")
    return manifest
