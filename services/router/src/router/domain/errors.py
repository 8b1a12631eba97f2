"""Refusals that a flow treats in ways of their own."""

from __future__ import annotations

from catalog.errors import SECRET_GONE
from kernel.errors import NotFound, StateForbids


class StaleAssignment(StateForbids):
    """The partitions belong to somebody else by now: forget the work, settle nothing."""


class PositionLost(StateForbids):
    """The broker no longer has the records at the flow's position: a person has to decide."""


class CredentialsMissing(NotFound):
    """The vault does not hold what the connection's credentials refer to: somebody has to enter
    them again. The flow is blocked until then."""

    code = SECRET_GONE
