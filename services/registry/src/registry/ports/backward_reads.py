"""The log from its end backwards."""

from __future__ import annotations

from typing import Protocol

from registry.ports.event_store import BATCH_BYTES_MAX, SelectedPage, Selection


class BackwardReads(Protocol):
    """Reads only; any number of calls at once; a cancelled call leaves nothing behind."""

    async def read_back(
        self,
        to: int,
        *,
        after: int,
        selection: Selection | None,
        limit: int,
        bytes_max: int = BATCH_BYTES_MAX,
    ) -> SelectedPage:
        """The events up to `to` and after `after`, newest first; all of them or the selected ones.

        The log must have reached `to`, and `after` < `to`. At most `limit`, and at most `bytes_max`
        of data and metadata unless the first is larger. Everything asked for from `to` down to
        `covered_position` is in the page; that may be less than asked: go on below it. It is never
        below the first event that is still in the log; raises Archived when `to` is.
        """
        ...
