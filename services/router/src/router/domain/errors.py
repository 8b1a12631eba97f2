"""Two refusals of a source that the pump treats in ways of their own."""

from __future__ import annotations

from kernel.errors import StateForbids


class StaleAssignment(StateForbids):
    """The partitions belong to somebody else by now: forget the work, settle nothing."""


class PositionLost(StateForbids):
    """The broker no longer has the records at the flow's position: a person has to decide."""
