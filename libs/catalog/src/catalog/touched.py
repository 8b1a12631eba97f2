"""What an event changes: its own aggregate, and those that come or go with it.

These are flows that its grants make or unmake, and the ended dead letter task whose room it takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from catalog import events
from catalog.catalog import Catalog
from catalog.events import ApiType, Grant, RecordedEvent
from catalog.identifiers import granted_flow_id
from catalog.kinds import KIND_OF_EVENT, AggregateKind


class Touched(NamedTuple):
    """An aggregate by kind and id."""

    kind: AggregateKind
    id: str


def touched(catalog: Catalog, recorded: RecordedEvent) -> tuple[Touched, ...]:
    """What `recorded` may change in `catalog`, which must be as of just before it. Own one first.

    More than really changes is possible (a grant saved again), less is not.
    """
    own = Touched(KIND_OF_EVENT[type(recorded.event)], recorded.stream_id)
    match recorded.event:
        case events.ConnectionDeleted() as event:
            return (own, *_flows_of_connection(catalog, event.connection_id))
        case events.TopicAccessSet() as event:
            before = catalog.topic_access(event.connection_id, event.topic)
            grants = (*(before.grants if before else ()), *event.grants)
            return (own, *_flows(event.connection_id, event.topic, grants))
        case events.DeadLetterTaskCancelled() | events.DeadLetterTaskFinished():
            return (own, *_forgotten_task(catalog, own.id))
        case _:
            return (own,)


def _forgotten_task(catalog: Catalog, ending_id: str) -> tuple[Touched, ...]:
    ending, oldest = catalog.dead_letter_task(ending_id), catalog.dead_letter_task_forgotten_next()
    if ending is None or ending.ended_time is not None or oldest is None:
        return ()
    return (Touched(AggregateKind.DEAD_LETTER_TASK, oldest.dead_letter_task_id),)


def _flows_of_connection(catalog: Catalog, connection_id: str) -> tuple[Touched, ...]:
    return tuple(
        flow
        for access in catalog.topics_with_access(connection_id)
        for flow in _flows(connection_id, access.topic, access.grants)
    )


def _flows(connection_id: str, topic: str, grants: Iterable[Grant]) -> tuple[Touched, ...]:
    return tuple(
        Touched(
            AggregateKind.FLOW,
            granted_flow_id(
                connection_id=connection_id,
                topic=topic,
                algorithm_id=grant.algorithm_id,
                api_type=grant.api_type,
            ),
        )
        for grant in dict.fromkeys(grants)
        if grant.api_type is not ApiType.DEAD_LETTER
    )
