"""Which records of a completions topic a flow takes; all others are settled without a run."""

from __future__ import annotations

from typing import Final

from catalog.events import FlowKind

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
    of the version they follow (an empty one: of every version) that ran under a catalog in which
    the flow was enabled already.
    """
    if spec.kind is FlowKind.SUBSCRIBER:
        return True
    return (
        delivery.header(STATUS_HEADER) == b"succeeded"
        and delivery.header(MODE_HEADER) == b"live"
        and (not spec.version or delivery.header(VERSION_HEADER) == spec.version.encode())
        and _position_of(delivery) >= spec.enabled_position
    )


def _position_of(delivery: Delivery) -> int:
    text = delivery.header(POSITION_HEADER) or b""
    return int(text) if text.isdigit() and len(text) <= _DIGITS_MAX else -1
