"""What other aggregates say to a command. Pure: catalog and request in, the domain's command out.

The catalog may miss what happened a moment ago elsewhere. That is allowed to slip through: what
may run is derived again by everybody (`catalog.effective`), so a flow enabled in the moment its
grant was taken away is blocked, not run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from catalog.catalog import Catalog
from catalog.events import ApiType, BrokerKind, Channel, FlowCreated, FlowKind
from catalog.records import Algorithm, Flow
from kernel.errors import InvalidInput, NotAllowed, NotFound, StateForbids

from registry.domain.account import ACCOUNT_NOT_FOUND
from registry.domain.algorithm import ALGORITHM_ID_UNKNOWN, CreateAlgorithm
from registry.domain.connection import UpdateConnection
from registry.domain.dead_letter_task import OPEN_TASKS_MAX, RequestPurge, RequestRedrive
from registry.domain.flow import CreateListener, DisableFlow, EnableFlow, PauseFlow, ResumeFlow
from registry.domain.topic_access import SetTopicAccess

VERSION_UNKNOWN = 1014

C = TypeVar("C", PauseFlow, ResumeFlow)


def create_algorithm(command: CreateAlgorithm) -> Callable[[Catalog], CreateAlgorithm]:
    """The owner exists; its name goes into the event."""

    def check(catalog: Catalog) -> CreateAlgorithm:
        owner = catalog.account(command.owner_id)
        if owner is None:
            raise NotFound("there is no account with this owner_id", code=ACCOUNT_NOT_FOUND)
        return replace(command, owner_name=owner.username)

    return check


def set_topic_access(command: SetTopicAccess) -> Callable[[Catalog], SetTopicAccess]:
    """The connection exists, and every algorithm has a published version."""

    def check(catalog: Catalog) -> SetTopicAccess:
        if catalog.connection(command.connection_id) is None:
            raise NotFound("there is no connection with this connection_id")
        for grant in command.grants:
            _published(catalog, grant.algorithm_id)
        return command

    return check


def update_connection(command: UpdateConnection) -> Callable[[Catalog], UpdateConnection]:
    """No flow loses its position: another prefix means other groups, which begin anew."""

    def check(catalog: Catalog) -> UpdateConnection:
        known = catalog.connection(command.connection_id)
        changed = known is not None and known.group_prefix != command.group_prefix
        if changed and any(_reads(flow, command.connection_id) for flow in catalog.flows()):
            raise StateForbids(
                "group_prefix begins the names of the groups in which the connection's flows keep "
                "their positions, and with another one they would begin anew: leave it as it is, "
                "or link the cluster once more as another connection"
            )
        return command

    return check


def enable_flow(flow_id: str, settings: EnableFlow) -> Callable[[Catalog], EnableFlow]:
    """The flow exists, its grant stands, its version is published, its dead letters may be written.

    The wire of `settings` is replaced by what the catalog knows of the flow.
    """

    def check(catalog: Catalog) -> EnableFlow:
        flow = _flow(catalog, flow_id)
        _version(_published(catalog, flow.algorithm_id), settings.algorithm_version)
        if flow.channel is not None and flow.channel.broker is BrokerKind.KAFKA:
            _granted(catalog, flow, flow.channel, settings.dead_letter_topic)
        return replace(settings, wire=_wire(flow))

    return check


def disable_flow(flow_id: str) -> Callable[[Catalog], DisableFlow]:
    """The flow exists."""

    def check(catalog: Catalog) -> DisableFlow:
        return DisableFlow(flow_id=_flow(catalog, flow_id).flow_id)

    return check


def steer_flow(command: C) -> Callable[[Catalog], C]:
    """The flow exists."""

    def check(catalog: Catalog) -> C:
        _flow(catalog, command.flow_id)
        return command

    return check


def request_redrive(command: RequestRedrive) -> Callable[[Catalog], RequestRedrive]:
    """The flow exists, has room for a task, and a topic of its own if that is meant; the version
    that it shall run is published."""

    def check(catalog: Catalog) -> RequestRedrive:
        flow = _flow(catalog, command.flow_id)
        if command.algorithm_version and flow.kind is FlowKind.PUBLISHER:
            raise InvalidInput(
                "a publisher flow writes to a topic and runs no algorithm: leave algorithm_version "
                "out"
            )
        run = flow.target_algorithm_id or flow.algorithm_id
        _version(_published(catalog, run), command.algorithm_version)
        if command.own_topic and not flow.own_dead_letter_topic:
            raise StateForbids(
                "the flow has no dead letter topic of its own: leave own_topic out, its dead "
                "letters are in the internal topic"
            )
        _room_for_a_task(catalog, command.flow_id, command.dead_letter_task_id)
        return command

    return check


def request_purge(command: RequestPurge) -> Callable[[Catalog], RequestPurge]:
    """The flow exists and has room for a task."""

    def check(catalog: Catalog) -> RequestPurge:
        _flow(catalog, command.flow_id)
        _room_for_a_task(catalog, command.flow_id, command.dead_letter_task_id)
        return command

    return check


def create_listener(command: CreateListener) -> Callable[[Catalog], CreateListener]:
    """Owner and algorithm exist, and the version is published."""

    def check(catalog: Catalog) -> CreateListener:
        if catalog.account(command.owner_id) is None:
            raise NotFound("there is no account with this owner_id", code=ACCOUNT_NOT_FOUND)
        _version(_published(catalog, command.algorithm_id), command.algorithm_version)
        return command

    return check


def _flow(catalog: Catalog, flow_id: str) -> Flow:
    flow = catalog.flow(flow_id)
    if flow is None:
        raise NotFound("there is no flow with this flow_id: an admin has to grant the topic first")
    return flow


def _reads(flow: Flow, connection_id: str) -> bool:
    """Has somebody enabled the flow, on a topic of this connection?"""
    channel = flow.channel
    return (
        flow.kind is FlowKind.SUBSCRIBER
        and flow.created_position > 0
        and channel is not None
        and channel.connection_id == connection_id
    )


def _room_for_a_task(catalog: Catalog, flow_id: str, task_id: str) -> None:
    """A task that is known already takes no more room: asking again for it changes nothing."""
    tasks = catalog.dead_letter_tasks_of(flow_id)
    going_on = sum(task.ended_time is None for task in tasks)
    if going_on >= OPEN_TASKS_MAX and catalog.dead_letter_task(task_id) is None:
        raise StateForbids(
            f"the flow has {going_on} dead letter tasks that go on: wait until one of them has "
            "ended, or cancel one"
        )


def _wire(flow: Flow) -> FlowCreated:
    return FlowCreated(
        flow_id=flow.flow_id,
        kind=flow.kind,
        owner_id=flow.owner_id,
        algorithm_id=flow.algorithm_id,
        channel=flow.channel,
        target_algorithm_id=flow.target_algorithm_id,
    )


def _published(catalog: Catalog, algorithm_id: str) -> Algorithm:
    algorithm = catalog.algorithm(algorithm_id)
    if algorithm is None:
        raise NotFound("there is no algorithm with this algorithm_id", code=ALGORITHM_ID_UNKNOWN)
    if not algorithm.versions:
        raise StateForbids(
            f"{algorithm.full_name} has no published version: publish one first, "
            "only published algorithms can be wired"
        )
    return algorithm


def _version(algorithm: Algorithm, version: str) -> None:
    if version and all(one.version != version for one in algorithm.versions):
        raise NotFound(
            f"{algorithm.full_name} has no published version of this number", code=VERSION_UNKNOWN
        )


def _granted(catalog: Catalog, flow: Flow, channel: Channel, dead_letter_topic: str) -> None:
    if catalog.connection(channel.connection_id) is None:
        raise StateForbids("the flow's connection was deleted: an admin has to create another one")

    def may(topic: str, *api_types: ApiType) -> bool:
        return any(
            catalog.is_granted(
                connection_id=channel.connection_id,
                topic=topic,
                algorithm_id=flow.algorithm_id,
                api_type=api_type,
            )
            for api_type in api_types
        )

    if not may(channel.name, flow.api_type):
        raise NotAllowed("the grant for this topic was taken away: ask an admin to grant it again")
    if dead_letter_topic and not may(dead_letter_topic, ApiType.PUBLISHER, ApiType.DEAD_LETTER):
        raise NotAllowed(
            "the algorithm may not write to this dead_letter_topic: "
            "ask an admin to grant it as publisher or dead letter"
        )
