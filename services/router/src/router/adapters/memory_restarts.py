"""For which flows a worker ended itself, for as long as the process lives: for tests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime


class MemoryRestarts:
    """Port `RestartMemory`."""

    def __init__(self) -> None:
        self._restarts: dict[str, datetime] = {}

    def load(self) -> Mapping[str, datetime]:
        return dict(self._restarts)

    def save(self, restarts: Mapping[str, datetime]) -> None:
        self._restarts = dict(restarts)
