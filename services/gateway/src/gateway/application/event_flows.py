"""Event flows: the owner of an algorithm enables what an admin granted; an admin sees all flows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from catalog.catalog import Catalog
from catalog.events import ApiType, BrokerKind, FlowEnabled
from catalog.records import Algorithm, Flow
from eventflows.registry.v1 import registry_pb2
from kernel.errors import InvalidInput, NotAllowed, NotFound, Unavailable

from gateway.application.algorithms import AlgorithmRef, own_algorithm
from gateway.application.flow_records import PAST_STATES, STATES, FlowRecord, Statuses, flow_record
from gateway.application.gateway import Gateway
from gateway.application.versions import CODE_VERSION_NOT_FOUND
from gateway.domain import fields
from gateway.domain.caller import Admin, Standard
from gateway.domain.intent import Intent
from gateway.domain.paging import Page, PageRequest, SortKey, paginate

NEWEST_VERSION_WORDS = ("", "latest")
FLOWS_NAMED_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSettings:
    """What an owner asks of a flow. Empty version: the newest published one. 0: the default."""

    enabled: bool
    algorithm_version: str = ""
    dead_letter_topic: str = ""
    concurrency_max: int = 0
    allow_cycle: bool = False
    timeout_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowFilter:
    """Which flows of the cluster to list; empty words: all."""

    state: str = ""
    algorithm: str = ""


async def list_flows(
    gateway: Gateway, caller: Standard, ref: AlgorithmRef
) -> tuple[FlowRecord, ...]:
    """All flows of one's algorithm, granted ones included. Raises NotFound, NotAllowed."""
    algorithm = own_algorithm(gateway.catalog, caller, ref)
    return await _records(gateway, _flows_run_by(gateway.catalog, algorithm))


async def get_flow(
    gateway: Gateway, caller: Standard, ref: AlgorithmRef, flow_id: str
) -> FlowRecord:
    """One flow of one's algorithm. Raises NotFound, NotAllowed."""
    algorithm = own_algorithm(gateway.catalog, caller, ref)
    (record,) = await _records(gateway, [_flow(gateway.catalog, algorithm, flow_id)])
    return record


async def put_flow(
    gateway: Gateway,
    caller: Standard,
    ref: AlgorithmRef,
    flow_id: str,
    asked: FlowSettings,
    intent: Intent,
) -> FlowRecord:
    """Enable with settings, change the settings, or disable.

    Raises NotFound (1014 for the version), NotAllowed (a dead letter topic that is not granted),
    InvalidInput, StateForbids, VersionConflict.
    """
    algorithm = own_algorithm(gateway.catalog, caller, ref)
    flow = _flow(gateway.catalog, algorithm, flow_id)
    if asked.algorithm_version in NEWEST_VERSION_WORDS:
        asked = replace(asked, algorithm_version="")
    if asked.enabled:
        _check(gateway.catalog, algorithm, flow, asked)
        result = await gateway.send(_enable(flow, asked), caller, intent)
    else:
        _refuse_lost_settings(flow, asked)
        command = registry_pb2.DisableFlowRequest(flow_id=flow.flow_id)
        result = await gateway.send(command, caller, intent)
    changed = gateway.catalog.flow(flow.flow_id)
    if changed is None or changed.stream_version < result.version:
        changed = _with_settings(flow, asked, version=result.version)
    (record,) = await _records(gateway, [changed])
    return record


async def list_all_flows(
    gateway: Gateway, _caller: Admin, wanted: FlowFilter, page: PageRequest
) -> Page[FlowRecord]:
    """The flows of the whole cluster, by algorithm. Raises InvalidInput."""
    catalog = gateway.catalog
    flows = catalog.flows()
    if wanted.algorithm:
        algorithm = catalog.algorithm_named(*fields.algorithm_reference(wanted.algorithm))
        flows = catalog.flows_of_algorithm(algorithm.algorithm_id) if algorithm else ()

    def place(flow: Flow | FlowRecord) -> SortKey:
        if isinstance(flow, FlowRecord):
            return flow.algorithm, flow.id
        known = catalog.algorithm(flow.algorithm_id)
        return (known.full_name if known is not None else flow.algorithm_id), flow.flow_id

    if not wanted.state:  # the router is asked for the flows of this page only
        found = paginate(flows, page, key=place)
        return Page(items=await _records(gateway, found.items), marker=found.marker)
    fields.one_of(wanted.state, STATES if gateway.moment is None else PAST_STATES, field="state")
    records = await _records(gateway, flows)
    return paginate((r for r in records if r.state == wanted.state), page, key=place)


async def _records(gateway: Gateway, flows: Sequence[Flow]) -> tuple[FlowRecord, ...]:
    """With the router's word on enabled flows; without it when no router can be reached.

    The router knows nothing of the past: as of a moment the catalog alone speaks.
    """
    enabled = [flow.flow_id for flow in flows if flow.settings is not None]
    if gateway.moment is not None:
        enabled = []
    # An empty question means all flows: shorter than naming a thousand.
    question = enabled if len(enabled) <= FLOWS_NAMED_MAX else []
    statuses: Statuses = {}
    if enabled:
        with suppress(Unavailable):
            answer = await gateway.router.flow_status(question)
            statuses = {status.flow_id: status for status in answer.flows}
    return tuple(flow_record(gateway.catalog, flow, statuses) for flow in flows)


def _flows_run_by(catalog: Catalog, algorithm: Algorithm) -> tuple[Flow, ...]:
    """Without listeners of other accounts on this (public) algorithm: those are theirs."""
    flows = catalog.flows_of_algorithm(algorithm.algorithm_id)
    return tuple(flow for flow in flows if flow.owner_id == algorithm.owner_id)


def _flow(catalog: Catalog, algorithm: Algorithm, flow_id: str) -> Flow:
    for flow in _flows_run_by(catalog, algorithm):
        if flow.flow_id == flow_id.lower():
            return flow
    raise NotFound(
        f"{algorithm.full_name} has no event flow of this id: an admin grants access to a topic, "
        "then GET …/event-flows lists the flow"
    )


def _check(catalog: Catalog, algorithm: Algorithm, flow: Flow, asked: FlowSettings) -> None:
    known = {version.version for version in algorithm.versions}
    if asked.algorithm_version and asked.algorithm_version not in known:
        raise NotFound(
            f"algorithm_version: {algorithm.full_name} has no such published version, "
            "GET …/versions lists them",
            code=CODE_VERSION_NOT_FOUND,
        )
    if asked.dead_letter_topic:
        _check_dead_letter_topic(catalog, flow, asked.dead_letter_topic)


def _check_dead_letter_topic(catalog: Catalog, flow: Flow, topic: str) -> None:
    fields.topic(topic, field="dead_letter_topic")
    channel = flow.channel
    if channel is None or channel.broker is not BrokerKind.KAFKA:
        raise InvalidInput("dead_letter_topic is for flows on Kafka: leave it out")
    if flow.api_type is not ApiType.SUBSCRIBER:
        raise InvalidInput("dead_letter_topic is for subscriber flows: leave it out")
    for api_type in (ApiType.PUBLISHER, ApiType.DEAD_LETTER):
        if catalog.is_granted(
            connection_id=channel.connection_id,
            topic=topic,
            algorithm_id=flow.algorithm_id,
            api_type=api_type,
        ):
            return
    raise NotAllowed(
        f"dead_letter_topic: the algorithm may not write to {topic}: ask an admin to grant it "
        "dead_letter or publisher access to that topic"
    )


def _refuse_lost_settings(flow: Flow, asked: FlowSettings) -> None:
    """Disabling keeps the settings; new ones in the same request would be lost without a word."""
    kept = _settings(flow.settings or flow.last_settings)
    plain = FlowSettings(enabled=False)
    if asked not in (plain, replace(kept, enabled=False)):
        raise InvalidInput(
            "settings change only together with enabled: true; "
            'to disable the flow send {"enabled": false} alone'
        )


def _settings(enabled: FlowEnabled | None) -> FlowSettings:
    if enabled is None:
        return FlowSettings(enabled=False)
    return FlowSettings(
        enabled=True,
        algorithm_version=enabled.algorithm_version,
        dead_letter_topic=enabled.dead_letter_topic,
        concurrency_max=enabled.concurrency_max,
        allow_cycle=enabled.allow_cycle,
        timeout_s=enabled.timeout_s,
    )


def _enable(flow: Flow, asked: FlowSettings) -> registry_pb2.EnableFlowRequest:
    return registry_pb2.EnableFlowRequest(
        flow_id=flow.flow_id,
        algorithm_version=asked.algorithm_version,
        dead_letter_topic=asked.dead_letter_topic,
        concurrency_max=asked.concurrency_max,
        allow_cycle=asked.allow_cycle,
        timeout_s=asked.timeout_s,
    )


def _with_settings(flow: Flow, asked: FlowSettings, *, version: int) -> Flow:
    """What the catalog will say of the flow once it has caught up."""
    if not asked.enabled:
        return replace(flow, settings=None, stream_version=version)
    settings = FlowEnabled(
        flow_id=flow.flow_id,
        algorithm_version=asked.algorithm_version,
        dead_letter_topic=asked.dead_letter_topic,
        concurrency_max=asked.concurrency_max,
        allow_cycle=asked.allow_cycle,
        timeout_s=asked.timeout_s,
    )
    return replace(flow, settings=settings, last_settings=settings, stream_version=version)
