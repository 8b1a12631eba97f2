"""What has to be tidied now and then: old command ids, and the vault after crashes.

The vault and the log are written one after the other, so a crash in between leaves the vault
behind. The log decides what a secret is: named now, named before, shredded, or nobody's. Any number
of processes may do this.
"""

from __future__ import annotations

import asyncio
import logging

from kernel.errors import EventflowsError, Unavailable

from registry.application.credentials import (
    credentials_of,
    load_holder,
    standing_in,
    was_named,
)
from registry.application.metrics import RegistryMetrics
from registry.application.projection import Projection
from registry.application.streams import Streams
from registry.ports.event_store import EventStore
from registry.ports.vault import SUPERSEDED_KEPT_S, Vault, VaultEntry

EVERY_S = 600.0
PENDING_MAX_S = 3600.0
"""Far above the time that a command may wait for the log (group_commit.OUTAGE_MAX_S)."""
PAGE_MAX = 500

_log = logging.getLogger(__name__)


class Upkeep:
    """Prunes and sweeps, at the start and every EVERY_S."""

    def __init__(
        self,
        *,
        store: EventStore,
        vault: Vault,
        streams: Streams,
        projection: Projection,
        metrics: RegistryMetrics,
        pending_max_s: float = PENDING_MAX_S,
        superseded_kept_s: float = SUPERSEDED_KEPT_S,
    ) -> None:
        self._store = store
        self._vault = vault
        self._streams = streams
        self._projection = projection
        self._metrics = metrics
        self._pending_max_s = pending_max_s
        self._superseded_kept_s = superseded_kept_s

    async def run(self) -> None:
        """For ever. What cannot be reached now is tried the next time."""
        while True:
            try:
                await self.prune()
                await self.sweep()
            except Unavailable as error:
                _log.warning("upkeep waits", extra={"why": str(error)})
            await asyncio.sleep(EVERY_S)

    async def prune(self) -> None:
        """Forget command ids older than 7 days."""
        while await self._store.prune_commands(limit=PAGE_MAX) == PAGE_MAX:
            continue

    async def sweep(self) -> None:
        """Make of every secret older than an hour what the log says that it is."""
        after = ""
        while page := await self._vault.older(
            than_s=self._pending_max_s, after=after, limit=PAGE_MAX
        ):
            # After the page was read: whatever these rows were stored for is in the log by now.
            await self._projection.reach_head()
            for entry in page:
                if not self._is_right(entry):
                    await self._try_to_put_right(entry)
            after = page[-1].secret_id

    def _is_right(self, entry: VaultEntry) -> bool:
        """In use, and marked as such: almost every row, so this asks the catalog alone."""
        reference = credentials_of(self._projection.catalog, entry.stream_id)
        named = reference is not None and reference.secret_id == entry.secret_id
        return named and entry.used and not entry.superseded

    async def _try_to_put_right(self, entry: VaultEntry) -> None:
        """One secret whose stream cannot be read must not keep the others from being swept."""
        try:
            await self._put_right(entry)
        except Unavailable:
            raise
        except EventflowsError as error:
            _log.error(
                "nobody can tell what becomes of a secret",
                extra={"stream_id": entry.stream_id, "why": str(error)},
            )

    async def _put_right(self, entry: VaultEntry) -> None:
        _, loaded = await load_holder(self._streams, entry.stream_id)
        standing = standing_in(loaded.state)
        if standing.deleted:
            await self._vault.shred(entry.stream_id)
            self._metrics.swept_secrets.inc()
        elif entry.shreddings < standing.shreddings:
            await self._vault.shred(entry.stream_id, shreddings=standing.shreddings)
            self._metrics.swept_secrets.inc()
        elif entry.secret_id == standing.secret_id:
            await self._vault.mark_used(entry.secret_id)
        elif entry.used and not standing.known:
            # A log from a backup is in place. Destroying is not ours to decide.
            _log.error("the log does not know a used secret", extra={"stream_id": entry.stream_id})
        elif entry.used or await was_named(self._store, entry.stream_id, entry.secret_id):
            await self._vault.supersede(entry.secret_id)
            await self._destroy_old(entry)
        else:
            await self._vault.discard(entry.secret_id)
            self._metrics.swept_secrets.inc()

    async def _destroy_old(self, entry: VaultEntry) -> None:
        if await self._vault.destroy_superseded(entry.secret_id, than_s=self._superseded_kept_s):
            self._metrics.swept_secrets.inc()
            _log.info("a replaced secret was destroyed", extra={"stream_id": entry.stream_id})
