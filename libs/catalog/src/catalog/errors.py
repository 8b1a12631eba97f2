"""What can go wrong between a catalog and the log that feeds it.

EventflowsError (kernel)
├── PositionGap    the next event is not the next position; nothing was applied
├── UnknownEvent   an event that only a newer build knows; upgrade this service
├── LogReplaced    the registry's log does not go on from what was applied; restart this service
└── SnapshotUnusable  a snapshot that is damaged, or of another fold; replay the log
"""

from __future__ import annotations

from kernel.errors import EventflowsError


class PositionGap(EventflowsError):
    """An event does not have the position after the catalog's own. Nothing was applied."""


class UnknownEvent(EventflowsError):
    """The log holds an event of a kind that this build does not know: upgrade this service."""


class LogReplaced(EventflowsError):
    """The registry's log does not go on after the position that was already applied.

    Somebody put another log (an old backup, another database) in its place, or what comes next was
    archived meanwhile. What this process knows is no longer true, so it must stop; started again it
    reads the log that stands now.
    """


class SnapshotUnusable(EventflowsError):
    """A snapshot is damaged, cut off, or was made by another fold: replay the log in its place."""


SECRET_GONE = 9005
"""Code of a NotFound: the log names a secret that the vault does not hold. Who needs it is blocked
until somebody enters the credentials again."""
