"""Which records of a completions topic a flow takes; all others are settled without a run.

A completion is judged by what the flow asked for when the run began (`ef-position`), not by what it
asks for now: whoever changes the version or disables the flow for a while loses no result that was
on its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from catalog.events import FlowKind
from catalog.records import FLOW_CHANGES_KEPT_MAX, FlowChange

from router.domain.delivery import Delivery

STATUS_HEADER: Final = "ef-status"
MODE_HEADER: Final = "ef-mode"
VERSION_HEADER: Final = "ef-version"
POSITION_HEADER: Final = "ef-position"
_DIGITS_MAX: Final = 18


def takes(kind: FlowKind, changes: Sequence[FlowChange], delivery: Delivery) -> bool:
    """Is this record for a flow with this history?

    A subscriber flow takes every record of its topic. Publisher and chain flows take live successes
    of the version that was enabled when the run began (an empty one: of every version). The history
    must reach up to the position that the completion names.
    """
    if kind is FlowKind.SUBSCRIBER:
        return True
    headers = dict(delivery.headers)  # of a repeated one the last counts, as everywhere
    if headers.get(STATUS_HEADER) != b"succeeded" or headers.get(MODE_HEADER) != b"live":
        return False
    wanted = _version_at(changes, _position(headers.get(POSITION_HEADER)))
    return wanted is not None and wanted.encode() in (b"", headers.get(VERSION_HEADER))


def _version_at(changes: Sequence[FlowChange], position: int) -> str | None:
    """What the flow asked for at a place in the log; None: it was disabled, or not there yet."""
    for change in reversed(changes):
        if change.position <= position:
            return change.version
    if len(changes) < FLOW_CHANGES_KEPT_MAX or position < 0:
        return None
    # Older changes are forgotten: rather a result too many than one too few.
    return next((change.version for change in changes if change.version is not None), None)


def position_of(delivery: Delivery) -> int:
    """The place in the registry's log that a completion was made by; -1 when it names none."""
    return _position(delivery.header(POSITION_HEADER))


def _position(text: bytes | None) -> int:
    return int(text) if text and text.isdigit() and len(text) <= _DIGITS_MAX else -1
