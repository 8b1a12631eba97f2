"""Which records of a completions topic a flow takes; all others are settled without a run.

A completion is judged by what the flow asked for when the run began (`ef-position`), not by what it
asks for now: whoever changes the version or disables the flow for a while loses no result that was
on its way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from catalog.events import FlowKind
from catalog.records import FLOW_CHANGES_KEPT_MAX, FlowChange

from router.domain.delivery import Delivery

STATUS_HEADER: Final = "ef-status"
MODE_HEADER: Final = "ef-mode"
VERSION_HEADER: Final = "ef-version"
POSITION_HEADER: Final = "ef-position"
VERDICTS_KEPT_MAX: Final = 1_024
_DIGITS_MAX: Final = 18


class CompletionFilter:
    """Which records are for one flow.

    Completions have few kinds, so a verdict is remembered for all of its kind.
    """

    def __init__(self, kind: FlowKind) -> None:
        self._takes_all = kind is FlowKind.SUBSCRIBER
        self._changes: Sequence[FlowChange] = ()
        self._verdicts: dict[tuple[bytes | None, ...], bool] = {}

    def takes(self, changes: Sequence[FlowChange], delivery: Delivery) -> bool:
        """Is this record for a flow with this history?

        A subscriber flow takes every record of its topic. Publisher and chain flows take live
        successes of the version that was enabled when the run began (an empty one: of every
        version). The history must reach up to the position that the completion names.
        """
        if self._takes_all:
            return True
        if changes is not self._changes or len(self._verdicts) >= VERDICTS_KEPT_MAX:
            self._changes = changes
            self._verdicts.clear()
        named = dict(delivery.headers).get  # of a repeated one the last counts, as everywhere
        kind = (
            named(STATUS_HEADER),
            named(MODE_HEADER),
            named(POSITION_HEADER),
            named(VERSION_HEADER),
        )
        verdict = self._verdicts.get(kind)
        if verdict is None:
            verdict = self._verdicts[kind] = _fits(changes, *kind)
        return verdict


def _fits(
    changes: Sequence[FlowChange],
    status: bytes | None,
    mode: bytes | None,
    position: bytes | None,
    version: bytes | None,
) -> bool:
    if status != b"succeeded" or mode != b"live":
        return False
    wanted = _version_at(changes, _position(position))
    return wanted is not None and wanted.encode() in (b"", version)


def _version_at(changes: Sequence[FlowChange], position: int) -> str | None:
    """What the flow asked for at a place in the log; None: it was disabled, or not there yet."""
    for change in reversed(changes):
        if change.position <= position:
            return change.version
    if len(changes) < FLOW_CHANGES_KEPT_MAX or position < 0:
        return None
    # Older changes are forgotten: rather a result too many than one too few.
    return next((change.version for change in changes if change.version is not None), None)


def newest_position(deliveries: Iterable[Delivery]) -> int:
    """The highest place in the registry's log that completions were made by; -1: they name none."""
    named = {delivery.header(POSITION_HEADER) for delivery in deliveries}
    return max(map(_position, named), default=-1)


def _position(text: bytes | None) -> int:
    return int(text) if text and text.isdigit() and len(text) <= _DIGITS_MAX else -1
