"""Events and seals as an export file gives them: the rows of the log, field by field."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. `time` is aware UTC and equals its seal's; `data` and `metadata` are protobuf."""

    position: int
    stream_id: str
    version: int
    name: str
    time: datetime
    data: bytes
    metadata: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """One link of the chain, over the events `first_position` to `last_position`."""

    first_position: int
    last_position: int
    hash: bytes
    time: datetime
