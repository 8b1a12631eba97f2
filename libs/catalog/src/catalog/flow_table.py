"""How flows come, change and go.

    no flow ──grant──▶ granted (disabled) ──FlowCreated──▶ created (disabled) ◀──▶ enabled
       ▲                     │ grant taken                        ▲
       └─────────────────────┘          no flow ──FlowCreated─────┘
                                        (queues and chains need no grant)

A created flow outlives its grant; whether it may run then is for `catalog.effective` to say.
A pause lies across these states: only resuming or deleting the flow ends it.
"""

from __future__ import annotations

from dataclasses import fields, replace
from sys import intern

from catalog import events
from catalog.events import ApiType, BrokerKind, Channel, FlowKind, Grant, RecordedEvent
from catalog.flow_index import FlowIndex
from catalog.identifiers import granted_flow_id
from catalog.records import FLOW_CHANGES_KEPT_MAX, Flow, FlowChange, Pause, TopicAccess

_KIND_OF_GRANT = {
    ApiType.PUBLISHER: FlowKind.PUBLISHER,
    ApiType.SUBSCRIBER: FlowKind.SUBSCRIBER,
}


class FlowTable:
    """Writes the flow index. What the log says of an unknown flow changes nothing."""

    def __init__(self, index: FlowIndex | None = None) -> None:
        self.index = FlowIndex() if index is None else index

    def granted(
        self, access: TopicAccess, grant: Grant, *, owner_id: str, channel: Channel
    ) -> None:
        """The grant's flow exists from here on. Dead letter grants make none."""
        kind = _KIND_OF_GRANT.get(grant.api_type)
        flow_id = _flow_id(access, grant)
        if kind is None or self.index.get(flow_id) is not None:
            return
        self.index.put(
            Flow(
                flow_id=flow_id,
                kind=kind,
                owner_id=owner_id,
                algorithm_id=grant.algorithm_id,
                channel=channel,
            )
        )

    def grant_taken(self, access: TopicAccess, grant: Grant) -> None:
        """The grant's flow goes, unless it was created."""
        flow = self.index.get(_flow_id(access, grant))
        if flow is not None and not flow.created_position:
            self.index.drop(flow.flow_id)

    def created(self, recorded: RecordedEvent, event: events.FlowCreated) -> None:
        """The flow has a stream of its own; it takes the place of the one that its grant made."""
        known = self.index.get(event.flow_id)
        self.index.put(
            Flow(
                flow_id=intern(event.flow_id) if known is None else known.flow_id,
                kind=event.kind,
                owner_id=intern(event.owner_id),
                algorithm_id=intern(event.algorithm_id),
                channel=_shared_channel(event.channel, known),
                target_algorithm_id=intern(event.target_algorithm_id),
                created_position=recorded.position,
                position=recorded.position,
                stream_version=recorded.version,
            )
        )

    def enabled(self, recorded: RecordedEvent, event: events.FlowEnabled) -> None:
        """The flow has these settings; if it was disabled it is enabled from here on."""
        flow = self.index.get(event.flow_id)
        if flow is None:
            return
        settings = events.FlowEnabled(
            flow_id=flow.flow_id,
            algorithm_version=intern(event.algorithm_version),
            dead_letter_topic=intern(event.dead_letter_topic),
            concurrency_max=event.concurrency_max,
            allow_cycle=event.allow_cycle,
            timeout_s=event.timeout_s,
            delivery=event.delivery,
        )
        was_enabled = flow.settings is not None
        self.index.put(
            _with(
                flow,
                recorded,
                settings=settings,
                last_settings=settings,
                enabled_position=flow.enabled_position if was_enabled else recorded.position,
                enabled_time=flow.enabled_time if was_enabled else recorded.time,
                changes=_changed(flow, recorded.position, settings.algorithm_version),
            )
        )

    def disabled(self, recorded: RecordedEvent, event: events.FlowDisabled) -> None:
        """The flow stands still and remembers its settings."""
        flow = self.index.get(event.flow_id)
        if flow is None:
            return
        self.index.put(
            _with(
                flow,
                recorded,
                settings=None,
                enabled_position=0,
                enabled_time=None,
                changes=_changed(flow, recorded.position, None),
            )
        )

    def paused(self, recorded: RecordedEvent, event: events.FlowPaused) -> None:
        """The flow starts nothing from here on; one that is paused keeps its beginning."""
        flow = self.index.get(event.flow_id)
        if flow is None:
            return
        before = flow.paused
        pause = Pause(
            drain=event.drain,
            reason=event.reason,
            position=recorded.position if before is None else before.position,
            time=recorded.time if before is None else before.time,
        )
        self.index.put(_with(flow, recorded, paused=pause))

    def resumed(self, recorded: RecordedEvent, event: events.FlowResumed) -> None:
        """The flow goes on, and tries again what it halted at before this position."""
        flow = self.index.get(event.flow_id)
        if flow is None:
            return
        self.index.put(_with(flow, recorded, paused=None, resumed_position=recorded.position))

    def credentials_shredded(
        self, recorded: RecordedEvent, event: events.FlowCredentialsShredded
    ) -> None:
        """The flow's channel has no credentials any more."""
        flow = self.index.get(event.flow_id)
        if flow is None or flow.channel is None:
            return
        self.index.put(_with(flow, recorded, channel=replace(flow.channel, credentials=None)))

    def deleted(self, recorded: RecordedEvent, event: events.FlowDeleted, *, granted: bool) -> None:
        """The flow is gone; one whose grant still stands is there again as if never created."""
        flow = self.index.get(event.flow_id)
        self.index.drop(event.flow_id)
        if flow is not None and granted:
            self.index.put(
                Flow(
                    flow_id=flow.flow_id,
                    kind=flow.kind,
                    owner_id=flow.owner_id,
                    algorithm_id=flow.algorithm_id,
                    channel=flow.channel,
                    position=recorded.position,
                    stream_version=recorded.version,
                )
            )


def topic_channel(access: TopicAccess) -> Channel:
    """The channel of every flow of this topic."""
    return Channel(broker=BrokerKind.KAFKA, connection_id=access.connection_id, name=access.topic)


def _flow_id(access: TopicAccess, grant: Grant) -> str:
    return intern(
        granted_flow_id(
            connection_id=access.connection_id,
            topic=access.topic,
            algorithm_id=grant.algorithm_id,
            api_type=grant.api_type,
        )
    )


def _shared_channel(channel: Channel | None, known: Flow | None) -> Channel | None:
    """One record for what is equal: there may be 100,000 flows."""
    if known is not None and known.channel == channel:
        return known.channel
    return channel


def _changed(flow: Flow, position: int, version: str | None) -> tuple[FlowChange, ...]:
    """The flow's changes with one more, unless it asks for the same as before."""
    if flow.changes and flow.changes[-1].version == version:
        return flow.changes
    return (*flow.changes, FlowChange(position, version))[-FLOW_CHANGES_KEPT_MAX:]


_SLOTS = tuple((field.name, getattr(Flow, field.name)) for field in fields(Flow))


def _with(flow: Flow, recorded: RecordedEvent, **changes: object) -> Flow:
    """As the event leaves it. `dataclasses.replace` takes three times as long, and most events of a
    log come here."""
    changes["position"], changes["stream_version"] = recorded.position, recorded.version
    changed = object.__new__(Flow)
    for name, slot in _SLOTS:
        slot.__set__(changed, changes[name] if name in changes else slot.__get__(flow))
    return changed
