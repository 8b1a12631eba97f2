"""The states of aggregates: found by kind and id, listed, folded, as messages of catalog.v1.

A state is a record of `catalog.records`. Its message has the same fields but for what only look-ups
need (`records.LEFT_OUT`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from eventflows.catalog.v1 import catalog_pb2

from catalog import codec
from catalog.catalog import Catalog
from catalog.events import RecordedEvent
from catalog.kinds import AggregateKind
from catalog.records import Account, Algorithm, Connection, DeadLetterTask, Flow, TopicAccess

State: TypeAlias = Account | Algorithm | Connection | TopicAccess | Flow | DeadLetterTask

KIND_OF_STATE: Final[Mapping[type[State], AggregateKind]] = MappingProxyType(
    {
        Account: AggregateKind.ACCOUNT,
        Algorithm: AggregateKind.ALGORITHM,
        Connection: AggregateKind.CONNECTION,
        TopicAccess: AggregateKind.TOPIC_ACCESS,
        Flow: AggregateKind.FLOW,
        DeadLetterTask: AggregateKind.DEAD_LETTER_TASK,
    }
)
_STATE_OF_FIELD: Final = {kind.name.lower(): state for state, kind in KIND_OF_STATE.items()}


def of(catalog: Catalog, kind: AggregateKind, aggregate_id: str) -> State | None:
    """The aggregate's state; None when there is none of that kind and id (any more)."""
    match kind:
        case AggregateKind.ACCOUNT:
            return catalog.account(aggregate_id)
        case AggregateKind.ALGORITHM:
            return catalog.algorithm(aggregate_id)
        case AggregateKind.CONNECTION:
            return catalog.connection(aggregate_id)
        case AggregateKind.TOPIC_ACCESS:
            return catalog.topic_access_by_id(aggregate_id)
        case AggregateKind.FLOW:
            return catalog.flow(aggregate_id)
        case AggregateKind.DEAD_LETTER_TASK:
            return catalog.dead_letter_task(aggregate_id)
        case _:
            raise ValueError(f"{kind!r} is no kind of aggregate")


def listed(catalog: Catalog, kind: AggregateKind) -> tuple[State, ...]:
    """Every state of a kind that `of` finds, in an order that is the same for equal positions."""
    match kind:
        case AggregateKind.ACCOUNT:
            return catalog.accounts()
        case AggregateKind.ALGORITHM:
            return catalog.algorithms()
        case AggregateKind.CONNECTION:
            return catalog.connections()
        case AggregateKind.TOPIC_ACCESS:
            return catalog.topic_accesses()
        case AggregateKind.FLOW:
            return catalog.flows()
        case AggregateKind.DEAD_LETTER_TASK:
            return catalog.dead_letter_tasks()
        case _:
            raise ValueError(f"{kind!r} is no kind of aggregate")


def fold(catalog: Catalog, events: Iterable[RecordedEvent]) -> None:
    """Take in later events without those in between.

    What `catalog` then tells of an aggregate is what the whole log tells, if `events` have all that
    `catalog.touched` says may change it. But it may tell of an ended dead letter task that the
    whole log's catalog has no room for any more. Raises ValueError for an event that is not later.
    """
    for recorded in events:
        if recorded.position <= catalog.position:
            raise ValueError(f"event {recorded.position} is not after {catalog.position}")
        catalog.position = recorded.position - 1  # those in between are of no concern here
        catalog.apply(recorded)


def id_of(state: State) -> str:
    """The id of the aggregate's stream."""
    aggregate_id: str = getattr(state, f"{KIND_OF_STATE[type(state)].name.lower()}_id")
    return aggregate_id


def to_message(state: State) -> catalog_pb2.Aggregate:
    """The state as a message."""
    message = catalog_pb2.Aggregate()
    inner = getattr(message, KIND_OF_STATE[type(state)].name.lower())
    inner.SetInParent()
    codec.fill(state, inner)
    return message


def from_message(message: catalog_pb2.Aggregate) -> State:
    """The state in a message; what messages leave out is empty.

    Raises ValueError for a kind or an enumeration's number that this build does not know.
    """
    which = message.WhichOneof("state")
    if which is None:
        raise ValueError("an aggregate of a kind that this build does not know: upgrade it")
    kind: Any = _STATE_OF_FIELD[which]
    state: State = codec.read(kind, getattr(message, which))
    return state
