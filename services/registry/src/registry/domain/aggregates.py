"""The six aggregates side by side, each with what the application needs to run it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from catalog import events
from catalog.events import Event
from kernel.decider import Decider

from registry.domain import (
    account,
    algorithm,
    connection,
    dead_letter_task,
    flow,
    topic_access,
)
from registry.domain.claim import Claims


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """A kind of stream: its decider, the names its events claim, the kinds its streams hold."""

    category: str
    decider: Decider[Any, Any, Event]
    claims: Callable[[Any, Iterable[Event]], Claims]
    kinds: tuple[type[Event], ...]


ACCOUNT = Aggregate(
    category="account",
    decider=account.decider,
    claims=account.claims,
    kinds=(events.AccountCreated, events.ApiKeyCreated, events.ApiKeyRevoked),
)
ALGORITHM = Aggregate(
    category="algorithm",
    decider=algorithm.decider,
    claims=algorithm.claims,
    kinds=(events.AlgorithmCreated, events.BuildFinished, events.VersionPublished),
)
CONNECTION = Aggregate(
    category="connection",
    decider=connection.decider,
    claims=connection.claims,
    kinds=(
        events.ConnectionCreated,
        events.ConnectionUpdated,
        events.ConnectionCredentialsShredded,
        events.ConnectionDeleted,
    ),
)
TOPIC_ACCESS = Aggregate(
    category="topic_access",
    decider=topic_access.decider,
    claims=topic_access.claims,
    kinds=(events.TopicAccessSet,),
)
FLOW = Aggregate(
    category="flow",
    decider=flow.decider,
    claims=flow.claims,
    kinds=(
        events.FlowCreated,
        events.FlowEnabled,
        events.FlowDisabled,
        events.FlowDeleted,
        events.FlowCredentialsShredded,
        events.FlowPaused,
        events.FlowResumed,
    ),
)
DEAD_LETTER_TASK = Aggregate(
    category="dead_letter_task",
    decider=dead_letter_task.decider,
    claims=dead_letter_task.claims,
    kinds=(
        events.RedriveRequested,
        events.PurgeRequested,
        events.DeadLetterTaskCancelled,
        events.DeadLetterTaskFinished,
    ),
)
ALL = (ACCOUNT, ALGORITHM, CONNECTION, TOPIC_ACCESS, FLOW, DEAD_LETTER_TASK)
