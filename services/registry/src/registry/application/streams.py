"""States of streams, the recently used ones kept. A kept state may be old: the append finds out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from catalog.events import Event
from kernel.errors import AlreadyExists, StateForbids

from registry.application.projection import recorded
from registry.application.stream_states import decode
from registry.domain.aggregates import Aggregate
from registry.ports.archive import LogParts
from registry.ports.event_store import Archived, EventStore, StoredEvent

KEPT_MAX = 10_000
PAGE_EVENTS_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A stream's state after `version` events."""

    state: Any
    version: int


class Streams:
    """Loads states by folding events; keeps at most `kept_max` of them.

    A stream whose first events were archived is folded from the state that was kept of it.
    """

    def __init__(
        self, store: EventStore, *, parts: LogParts | None = None, kept_max: int = KEPT_MAX
    ) -> None:
        self._store = store
        self._parts = parts
        self._kept_max = kept_max
        self._kept: OrderedDict[tuple[str, str], Loaded] = OrderedDict()

    async def load(self, aggregate: Aggregate, stream_id: str, *, fresh: bool) -> Loaded:
        """The stream's state; with `fresh` at least as new as the call, else possibly older.

        Raises AlreadyExists when the stream belongs to another kind of thing.
        """
        key = aggregate.category, stream_id
        kept = self._kept.get(key)
        if kept is not None and not fresh:
            self._kept.move_to_end(key)
            return kept
        loaded = kept or Loaded(state=aggregate.decider.initial, version=0)
        try:
            page = await self._page(stream_id, loaded.version)
        except Archived:
            loaded = await self._kept_by_archive(aggregate, stream_id, loaded)
            page = await self._page(stream_id, loaded.version)
        while page:
            events = [recorded(stored).event for stored in page]
            if not all(isinstance(event, aggregate.kinds) for event in events):
                raise AlreadyExists("this id belongs to something else: choose a fresh uuid")
            state = aggregate.decider.fold(events, state=loaded.state)
            loaded = Loaded(state=state, version=page[-1].version)
            if len(page) < PAGE_EVENTS_MAX:
                break
            page = await self._page(stream_id, loaded.version)
        self._keep(key, loaded)
        return loaded

    def appended(
        self, aggregate: Aggregate, stream_id: str, before: Loaded, events: Sequence[Event]
    ) -> None:
        """These events now follow `before` in the log."""
        state = aggregate.decider.fold(events, state=before.state)
        loaded = Loaded(state=state, version=before.version + len(events))
        kept = self._kept.get((aggregate.category, stream_id))
        if kept is None or kept.version < loaded.version:
            self._keep((aggregate.category, stream_id), loaded)

    async def _page(self, stream_id: str, after_version: int) -> Sequence[StoredEvent]:
        return await self._store.read_stream(
            stream_id, after_version=after_version, limit=PAGE_EVENTS_MAX
        )

    async def _kept_by_archive(
        self, aggregate: Aggregate, stream_id: str, loaded: Loaded
    ) -> Loaded:
        """What the archive kept of a stream that goes beyond `loaded`."""
        stored = await self._parts.state_of(stream_id) if self._parts else None
        if stored is None or stored.version <= loaded.version:
            raise StateForbids(
                f"the first events of stream {stream_id} were archived and its state is not kept: "
                "restore the log from its archive"
            )
        kept = decode(stored)
        if kept.aggregate.category != aggregate.category:
            raise AlreadyExists("this id belongs to something else: choose a fresh uuid")
        return Loaded(state=kept.state, version=kept.version)

    def _keep(self, key: tuple[str, str], loaded: Loaded) -> None:
        if loaded.version == 0:
            return
        self._kept[key] = loaded
        self._kept.move_to_end(key)
        while len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)
