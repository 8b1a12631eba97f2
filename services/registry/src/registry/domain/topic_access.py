"""Who may use one topic of one connection: all its grants, saved as one.

(no grants) ◀── SetTopicAccess ──▶ grants
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from catalog.events import Event, Grant, TopicAccessSet
from catalog.identifiers import topic_access_id
from kernel.decider import Decider
from kernel.errors import InvalidInput, TooLarge

from registry.domain import values
from registry.domain.claim import Claims

GRANTS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTopicAccess:
    """Let these grants, and no others, stand for the topic."""

    connection_id: str
    topic: str
    grants: tuple[Grant, ...]


Command: TypeAlias = SetTopicAccess
TopicAccess: TypeAlias = frozenset[Grant]


def decide(command: Command, state: TopicAccess) -> Sequence[Event]:
    """Raises InvalidInput, TooLarge."""
    values.uuid("connection_id", command.connection_id)
    values.topic("topic", command.topic)
    if len(command.grants) > GRANTS_MAX:
        raise TooLarge(f"a topic has at most {GRANTS_MAX} grants")
    for grant in command.grants:
        values.uuid("algorithm_id", grant.algorithm_id)
        values.chosen("api_type", grant.api_type)
    wish = frozenset(command.grants)
    if len(wish) != len(command.grants):
        raise InvalidInput("grants must not hold the same algorithm and api_type twice")
    if wish == state:
        return []
    return [
        TopicAccessSet(
            topic_access_id=topic_access_id(
                connection_id=command.connection_id, topic=command.topic
            ),
            connection_id=command.connection_id,
            topic=command.topic,
            grants=command.grants,
        )
    ]


def evolve(state: TopicAccess, event: Event) -> TopicAccess:
    """The state after one more event."""
    return frozenset(event.grants) if isinstance(event, TopicAccessSet) else state


def claims(_state: TopicAccess, _events: Iterable[Event]) -> Claims:
    """None: the stream's id is derived from connection and topic, so it is unique by itself."""
    return Claims()


decider: Decider[Command, TopicAccess, Event] = Decider(
    initial=frozenset(), decide=decide, evolve=evolve
)
