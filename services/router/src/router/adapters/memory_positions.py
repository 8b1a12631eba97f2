"""Positions in memory; every instance of one store remembers the same."""

from __future__ import annotations

from collections.abc import Mapping

from kernel.errors import Unavailable

from router.domain.beginning import Place
from router.domain.low_water import Mark

Store = dict[tuple[str, str], dict[int, Place]]


class MemoryPositions:
    """Positions of one worker. What two workers share is `store`."""

    def __init__(self, store: Store | None = None) -> None:
        self._store: Store = {} if store is None else store
        self._noted: Store = {}
        self.away: str | None = None
        """A reason: nothing can be read or written."""

    async def recall(self, group_id: str, topic: str) -> Mapping[int, Place]:
        self._check()
        key = group_id, topic
        return {**self._store.get(key, {}), **self._noted.get(key, {})}

    def remember(self, group_id: str, topic: str, places: Mapping[int, Place]) -> None:
        self._noted.setdefault((group_id, topic), {}).update(
            (number, place._replace(mark=Mark(position=place.mark.position)))
            for number, place in places.items()
        )

    async def flush(self) -> None:
        self._check()
        for key, places in self._noted.items():
            self._store.setdefault(key, {}).update(places)
        self._noted.clear()

    def _check(self) -> None:
        if self.away is not None:
            raise Unavailable(self.away)
