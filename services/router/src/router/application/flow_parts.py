"""What a flow is delivered with: the parts that its sessions and their assignments share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from router.application.budget import Share
from router.application.courier import Courier
from router.application.flow_switch import FlowSwitch
from router.application.limits import PumpLimits
from router.application.openings import Openings
from router.application.status_board import StatusBoard
from router.domain.flow_spec import FlowSpec
from router.domain.pace import Pace
from router.ports import Clock, FlowHistory, Random, Source, Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowParts:
    """What a pump is made of, for as long as it lives. `begun` is the highest offset of each
    partition that was begun under assignments that are over."""

    spec: FlowSpec
    source: Source
    courier: Courier
    clock: Clock
    limits: PumpLimits
    history: FlowHistory
    fence: Callable[[], bool]
    openings: Openings
    board: StatusBoard
    switch: FlowSwitch
    pace: Pace
    random: Random
    share: Share
    tracing: Tracing | None
    begun: dict[int, int] = field(default_factory=dict)
