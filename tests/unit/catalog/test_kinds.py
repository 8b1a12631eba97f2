"""Kinds of aggregates, and what an event touches."""

from __future__ import annotations

from catalog.codec import KINDS
from catalog.kinds import KIND_OF_EVENT, AggregateKind
from eventflows.catalog.v1 import catalog_pb2


def test_every_kind_of_event_belongs_to_a_kind_of_aggregate() -> None:
    assert set(KIND_OF_EVENT) == set(KINDS.values())


def test_the_numbers_are_those_of_the_contract() -> None:
    prefix = "AGGREGATE_KIND_"
    assert {f"{prefix}{kind.name}": kind.value for kind in AggregateKind} == dict(
        catalog_pb2.AggregateKind.items()
    )
