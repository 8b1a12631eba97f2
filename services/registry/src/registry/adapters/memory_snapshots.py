"""Snapshots in memory: same promises, gone with the process. For unit tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta

from kernel.errors import NotFound, StateForbids

from registry.ports.event_store import EventStore
from registry.ports.snapshots import OTHER_FOLDS_KEPT_FOR_DAYS, Snapshot, check_parts


class MemorySnapshots:
    """`Snapshots` in a dict, of the log in `store`."""

    def __init__(
        self, store: EventStore, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._clock = clock
        self._kept: dict[tuple[str, int], tuple[Snapshot, tuple[bytes, ...], datetime]] = {}

    async def put(
        self, *, position: int, fold: str, seal_hash: bytes, parts: Sequence[bytes]
    ) -> bool:
        check_parts(parts)
        if not await self._is_own(position, seal_hash):
            raise StateForbids(
                f"no seal of this log ends at {position} with this hash: "
                "take the snapshot from this log"
            )
        known = self._kept.get((fold, position))
        if known is not None and known[0].hash == seal_hash:
            return False
        snapshot = Snapshot(
            position=position,
            fold=fold,
            hash=seal_hash,
            parts=len(parts),
            size_bytes=sum(map(len, parts)),
        )
        self._kept[fold, position] = snapshot, tuple(parts), self._clock()
        return True

    async def newest(self, *, fold: str, at_most: int | None = None) -> Snapshot | None:
        own = await self._own(fold)
        fitting = [one for one in own if at_most is None or one.position <= at_most]
        return fitting[-1] if fitting else None

    async def read(self, snapshot: Snapshot) -> AsyncIterator[bytes]:
        for number in range(snapshot.parts):
            kept = self._kept.get((snapshot.fold, snapshot.position))
            if kept is None:
                raise NotFound(
                    f"the snapshot at {snapshot.position} is gone: ask for the newest again"
                )
            yield kept[1][number]

    async def positions(self, *, fold: str) -> Sequence[int]:
        return [snapshot.position for snapshot in await self._own(fold)]

    async def keep(self, *, fold: str, newest: int) -> int:
        own = await self.positions(fold=fold)
        stay = set(own[-newest:] if newest else [])
        events = await self._store.read(0, limit=1)
        first = events[0].position if events else (await self._store.head()).position + 1
        if first > 1:
            stay |= {min((one for one in own if one >= first - 1), default=0)}
        old = self._clock() - timedelta(days=OTHER_FOLDS_KEPT_FOR_DAYS)
        gone = [
            key
            for key, (_, _, taken) in self._kept.items()
            if (key[1] not in stay if key[0] == fold else taken < old)
        ]
        for key in gone:
            del self._kept[key]
        return len(gone)

    async def _own(self, fold: str) -> list[Snapshot]:
        """Those of a fold that belong to this log, by position."""
        kept = sorted(
            (snapshot for snapshot, _, _ in self._kept.values() if snapshot.fold == fold),
            key=lambda snapshot: snapshot.position,
        )
        return [one for one in kept if await self._is_own(one.position, one.hash)]

    async def _is_own(self, position: int, seal_hash: bytes) -> bool:
        seals = await self._store.seals(position - 1, limit=1)
        return bool(seals) and (seals[0].last_position, seals[0].hash) == (position, seal_hash)
