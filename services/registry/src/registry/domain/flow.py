"""A flow: one directed wire, on or off. The wire never changes; its settings do.

(granted) ── EnableFlow ──────▶ enabled ◀── EnableFlow ── disabled
(none) ───── CreateListener ──▶ enabled ── DisableFlow ─▶ disabled

enabled ──────────── PauseFlow ─────────▶ the same, paused      until ResumeFlow, however often it
                                                                is disabled and enabled meanwhile
enabled, disabled ── DeleteListener ────▶ deleted               listeners only
enabled, disabled ── ShredCredentials ──▶ the same, blocked     listeners only
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from catalog.events import (
    BrokerKind,
    Channel,
    DeliverySettings,
    Event,
    FlowCreated,
    FlowCredentialsShredded,
    FlowDeleted,
    FlowDisabled,
    FlowEnabled,
    FlowKind,
    FlowPaused,
    FlowResumed,
    SecretRef,
)
from kernel.decider import Decider
from kernel.errors import AlreadyExists, InvalidInput, NotFound, StateForbids

from registry.domain import delivery_rules, values
from registry.domain.claim import Claims

LISTENER_TIMEOUT_DEFAULT_S = 420
LISTENER_BROKERS = (BrokerKind.SQS, BrokerKind.SERVICE_BUS)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnableFlow:
    """Let the wire run with these settings. The wire is what the catalog knows of the flow."""

    wire: FlowCreated
    algorithm_version: str = ""
    dead_letter_topic: str = ""
    concurrency_max: int = 0
    allow_cycle: bool = False
    timeout_s: int = 0
    delivery: DeliverySettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DisableFlow:
    """Let the flow stand still."""

    flow_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseFlow:
    """Start nothing more; with `drain` finish first what was received. `reason` is for people."""

    flow_id: str
    drain: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeFlow:
    """Go on, and try again what a retry rule halted."""

    flow_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateListener:
    """Let a flow from a queue to an algorithm exist, enabled at once. `timeout_s` 0 means 420."""

    flow_id: str
    owner_id: str
    algorithm_id: str
    algorithm_version: str = ""
    channel: Channel
    timeout_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteListener:
    """Let the listener be gone for good."""

    flow_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShredCredentials:
    """Let the listener's secret be destroyed for good."""

    flow_id: str


Command: TypeAlias = (
    EnableFlow
    | DisableFlow
    | PauseFlow
    | ResumeFlow
    | CreateListener
    | DeleteListener
    | ShredCredentials
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """State. `settings` is None while the flow is disabled, `paused` while it is not paused;
    `shreddings` counts how often its secret was shredded, at most once."""

    created: FlowCreated
    settings: FlowEnabled | None = None
    shreddings: int = 0
    deleted: bool = False
    paused: FlowPaused | None = None


def decide(command: Command, state: Flow | None) -> Sequence[Event]:
    """Raises InvalidInput, NotFound, AlreadyExists, StateForbids."""
    match command:
        case EnableFlow():
            return _enable(command, state)
        case DisableFlow():
            if state is None or state.deleted or state.settings is None:
                return []
            return [FlowDisabled(flow_id=command.flow_id)]
        case PauseFlow():
            return _pause(command, state)
        case ResumeFlow():
            return _resume(command, state)
        case CreateListener():
            return _create_listener(command, state)
        case DeleteListener():
            return _delete_listener(command, state)
        case ShredCredentials():
            return _shred_credentials(command, state)
        case _:
            assert_never(command)


def evolve(state: Flow | None, event: Event) -> Flow | None:
    """The state after one more event."""
    match event:
        case FlowCreated():
            return Flow(created=event)
        case FlowEnabled() if state:
            return replace(state, settings=event)
        case FlowDisabled() if state:
            return replace(state, settings=None)
        case FlowPaused() if state:
            return replace(state, paused=event)
        case FlowResumed() if state:
            return replace(state, paused=None)
        case FlowCredentialsShredded() if state:
            return replace(state, shreddings=state.shreddings + 1)
        case FlowDeleted() if state:
            return replace(state, settings=None, deleted=True, paused=None)
        case _:
            return state


def claims(_state: Flow | None, _events: Iterable[Event]) -> Claims:
    """None: a flow has no name."""
    return Claims()


decider: Decider[Command, Flow | None, Event] = Decider(initial=None, decide=decide, evolve=evolve)


def _enable(command: EnableFlow, state: Flow | None) -> Sequence[Event]:
    _check_settings(command)
    _check_not_deleted(state)
    wish = FlowEnabled(
        flow_id=command.wire.flow_id,
        algorithm_version=command.algorithm_version,
        dead_letter_topic=command.dead_letter_topic,
        concurrency_max=command.concurrency_max,
        allow_cycle=command.allow_cycle,
        timeout_s=command.timeout_s,
        delivery=None if command.delivery == DeliverySettings() else command.delivery,
    )
    if state is None:
        return [command.wire, wish]
    return [] if state.settings == wish else [wish]


def _pause(command: PauseFlow, state: Flow | None) -> Sequence[Event]:
    values.line("reason", command.reason)
    _check_not_deleted(state)
    if state is None or state.settings is None:
        raise StateForbids("the flow is disabled, so it starts nothing: enable it, then pause it")
    wish = FlowPaused(flow_id=command.flow_id, drain=command.drain, reason=command.reason)
    return [] if state.paused == wish else [wish]


def _resume(command: ResumeFlow, state: Flow | None) -> Sequence[Event]:
    """An event also for an enabled flow that is not paused: whether one of its rules halted it only
    its router knows, and one that was not halted passes over the event."""
    _check_not_deleted(state)
    if state is None or (state.settings is None and state.paused is None):
        return []
    return [FlowResumed(flow_id=command.flow_id)]


def _check_not_deleted(state: Flow | None) -> None:
    if state is not None and state.deleted:
        raise StateForbids("this listener was deleted for good: create another one")


def _check_settings(command: EnableFlow) -> None:
    channel = command.wire.channel
    if command.algorithm_version:
        values.semantic_version("algorithm_version", command.algorithm_version)
    values.between("concurrency_max", command.concurrency_max, low=0, high=values.CONCURRENCY_MAX)
    values.between("timeout_s", command.timeout_s, low=0, high=values.RUN_TIMEOUT_MAX_S)
    if command.delivery is not None:
        delivery_rules.check(command.delivery, command.wire)
    if not command.dead_letter_topic:
        return
    values.topic("dead_letter_topic", command.dead_letter_topic)
    if channel is None or channel.broker is not BrokerKind.KAFKA:
        raise InvalidInput("dead_letter_topic is for flows on Kafka only: leave it out")
    if command.dead_letter_topic == channel.name:
        raise InvalidInput("dead_letter_topic must not be the flow's own topic: choose another one")


def _create_listener(command: CreateListener, state: Flow | None) -> Sequence[Event]:
    _check_listener(command)
    created = FlowCreated(
        flow_id=command.flow_id,
        kind=FlowKind.SUBSCRIBER,
        owner_id=command.owner_id,
        algorithm_id=command.algorithm_id,
        channel=command.channel,
    )
    enabled = FlowEnabled(
        flow_id=command.flow_id,
        algorithm_version=command.algorithm_version,
        timeout_s=command.timeout_s or LISTENER_TIMEOUT_DEFAULT_S,
    )
    if state is None:
        return [created, enabled]
    if state.deleted:
        raise StateForbids("this listener was deleted for good: create one with a fresh flow_id")
    if _same(state.created, created) and state.settings == enabled:
        return []
    raise AlreadyExists("a flow with this flow_id exists: choose a fresh uuid")


def _check_listener(command: CreateListener) -> None:
    values.uuid("flow_id", command.flow_id)
    values.uuid("owner_id", command.owner_id)
    values.uuid("algorithm_id", command.algorithm_id)
    if command.algorithm_version:
        values.semantic_version("algorithm_version", command.algorithm_version)
    values.between("timeout_s", command.timeout_s, low=0, high=values.RUN_TIMEOUT_MAX_S)
    channel = command.channel
    if channel.broker is BrokerKind.SQS:
        values.sqs_queue_url(channel.name)
        values.role_arn(channel.role_arn)
        if channel.credentials:
            raise InvalidInput("an SQS listener has a role_arn and no credentials")
    elif channel.broker is BrokerKind.SERVICE_BUS:
        values.service_bus_queue(channel.name)
        if channel.role_arn:
            raise InvalidInput("a Service Bus listener has no role_arn")
        if channel.credentials is None:
            raise InvalidInput("a Service Bus listener needs credentials: connection_string")
    else:
        raise InvalidInput("broker of a listener must be SQS or SERVICE_BUS")


def _delete_listener(command: DeleteListener, state: Flow | None) -> Sequence[Event]:
    if state is None:
        raise NotFound("there is no listener with this flow_id")
    if not _is_listener(state):
        raise StateForbids("this flow is not a listener: disable it, or take its grant away")
    return [] if state.deleted else [FlowDeleted(flow_id=command.flow_id)]


def _shred_credentials(command: ShredCredentials, state: Flow | None) -> Sequence[Event]:
    if state is None:
        raise NotFound("there is no listener with this flow_id")
    if not _is_listener(state):
        raise StateForbids("this flow has no secret of its own: shred those of its connection")
    if state.deleted or credentials_of(state) is None:
        return []
    return [FlowCredentialsShredded(flow_id=command.flow_id)]


def credentials_of(state: Flow) -> SecretRef | None:
    """The listener's secret; None for one without, or whose secret was shredded."""
    channel = state.created.channel
    return None if channel is None or state.shreddings else channel.credentials


def _is_listener(state: Flow) -> bool:
    channel = state.created.channel
    return channel is not None and channel.broker in LISTENER_BROKERS


def _same(known: FlowCreated, wish: FlowCreated) -> bool:
    """Equal but for the secret's id, which is new with every request."""
    old, new = known.channel, wish.channel
    if old is None or new is None or old.credentials is None or new.credentials is None:
        return known == wish
    credentials = replace(new.credentials, secret_id=old.credentials.secret_id)
    return known == replace(wish, channel=replace(new, credentials=credentials))
