"""Which records of a completions topic a flow takes; all others are settled without a run.

A completion is judged by what the flow asked for when the run began (`ef-position`), not by what it
asks for now: whoever changes the version or disables the flow for a while loses no result that was
on its way.
"""

from __future__ import annotations

from typing import Final

from catalog.events import FlowKind
from catalog.records import FLOW_CHANGES_KEPT_MAX

from router.domain.delivery import Delivery
from router.domain.flow_spec import FlowSpec

STATUS_HEADER: Final = "ef-status"
MODE_HEADER: Final = "ef-mode"
VERSION_HEADER: Final = "ef-version"
POSITION_HEADER: Final = "ef-position"
_DIGITS_MAX: Final = 18


def takes(spec: FlowSpec, delivery: Delivery) -> bool:
    """Is this record for this flow?

    A subscriber flow takes every record of its topic. Publisher and chain flows take live successes
    of the version that was enabled when the run began (an empty one: of every version).
    """
    if spec.kind is FlowKind.SUBSCRIBER:
        return True
    if delivery.header(STATUS_HEADER) != b"succeeded" or delivery.header(MODE_HEADER) != b"live":
        return False
    wanted = _version_at(spec, _position_of(delivery))
    return wanted is not None and wanted.encode() in (b"", delivery.header(VERSION_HEADER))


def _version_at(spec: FlowSpec, position: int) -> str | None:
    """What the flow asked for at a place in the log; None: it was disabled, or not there yet."""
    for change in reversed(spec.changes):
        if change.position <= position:
            return change.version
    # Older changes are forgotten: rather a result too many than one too few.
    forgotten = len(spec.changes) == FLOW_CHANGES_KEPT_MAX and position >= 0
    return spec.changes[0].version if forgotten else None


def _position_of(delivery: Delivery) -> int:
    text = delivery.header(POSITION_HEADER) or b""
    return int(text) if text.isdigit() and len(text) <= _DIGITS_MAX else -1
