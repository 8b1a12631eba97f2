"""The six kinds of aggregates, with protobuf's own numbers, and whose events are whose."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from catalog import events
from catalog.events import Event


class AggregateKind(IntEnum):
    """What a stream is about."""

    UNSPECIFIED = 0
    ACCOUNT = 1
    ALGORITHM = 2
    CONNECTION = 3
    TOPIC_ACCESS = 4
    FLOW = 5
    DEAD_LETTER_TASK = 6


KIND_OF_EVENT: Final[dict[type[Event], AggregateKind]] = {
    events.AccountCreated: AggregateKind.ACCOUNT,
    events.ApiKeyCreated: AggregateKind.ACCOUNT,
    events.ApiKeyRevoked: AggregateKind.ACCOUNT,
    events.AlgorithmCreated: AggregateKind.ALGORITHM,
    events.BuildFinished: AggregateKind.ALGORITHM,
    events.VersionPublished: AggregateKind.ALGORITHM,
    events.ConnectionCreated: AggregateKind.CONNECTION,
    events.ConnectionUpdated: AggregateKind.CONNECTION,
    events.ConnectionCredentialsShredded: AggregateKind.CONNECTION,
    events.ConnectionDeleted: AggregateKind.CONNECTION,
    events.TopicAccessSet: AggregateKind.TOPIC_ACCESS,
    events.FlowCreated: AggregateKind.FLOW,
    events.FlowEnabled: AggregateKind.FLOW,
    events.FlowDisabled: AggregateKind.FLOW,
    events.FlowDeleted: AggregateKind.FLOW,
    events.FlowCredentialsShredded: AggregateKind.FLOW,
    events.FlowPaused: AggregateKind.FLOW,
    events.FlowResumed: AggregateKind.FLOW,
    events.RedriveRequested: AggregateKind.DEAD_LETTER_TASK,
    events.PurgeRequested: AggregateKind.DEAD_LETTER_TASK,
    events.DeadLetterTaskCancelled: AggregateKind.DEAD_LETTER_TASK,
    events.DeadLetterTaskFinished: AggregateKind.DEAD_LETTER_TASK,
}
"""Every kind of event belongs to the stream of one kind of aggregate (a test holds it complete)."""
