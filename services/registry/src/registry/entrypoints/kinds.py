"""Kinds and ids of aggregates in requests."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from catalog.kinds import AggregateKind
from kernel.errors import InvalidInput

_KINDS: Final = frozenset(AggregateKind) - {AggregateKind.UNSPECIFIED}


def kind_of(field: str, number: int) -> AggregateKind:
    """The kind that a request names. Raises InvalidInput."""
    if number not in _KINDS:
        raise InvalidInput(f"{field}: {number} is no kind of aggregate; see AggregateKind")
    return AggregateKind(number)


def id_of(field: str, text: str) -> str:
    """A uuid in its usual form, whatever form was given. Raises InvalidInput."""
    try:
        return str(UUID(text))
    except ValueError as error:
        raise InvalidInput(f"{field} must be a uuid, the id of an aggregate") from error
