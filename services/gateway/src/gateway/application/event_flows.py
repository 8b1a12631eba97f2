"""Event flows: the owner of an algorithm enables what an admin granted; an admin sees all flows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from catalog.catalog import Catalog
from catalog.records import Algorithm, Flow
from eventflows.registry.v1 import registry_pb2
from kernel.errors import InvalidInput, NotFound, Unavailable

from gateway.application.algorithms import AlgorithmRef, algorithm_of, own_algorithm
from gateway.application.flow_records import PAST_STATES, STATES, FlowRecord, Statuses, flow_record
from gateway.application.flow_settings import (
    LATEST,
    FlowSettings,
    check,
    enabling,
    refuse_lost_settings,
    with_settings,
)
from gateway.application.gateway import Gateway
from gateway.domain import fields
from gateway.domain.caller import Admin, Caller, Standard
from gateway.domain.field_names import named_as_sent
from gateway.domain.intent import Intent
from gateway.domain.paging import Page, PageRequest, SortKey, paginate

NEWEST_VERSION_WORDS = ("", LATEST)
FLOWS_NAMED_MAX = 1_000
_NAMES = {
    f"delivery.{name}": name
    for name in ("order", "parallelism", "start", "read_committed", "retries")
}


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
    gateway: Gateway, caller: Caller, ref: AlgorithmRef | None, flow_id: str
) -> FlowRecord:
    """One flow that is within the caller's reach. Raises NotFound, NotAllowed."""
    return await shown(gateway, flow_in_reach(gateway.catalog, caller, ref, flow_id))


def flow_in_reach(catalog: Catalog, caller: Caller, ref: AlgorithmRef | None, flow_id: str) -> Flow:
    """A flow of one's own algorithm; for an admin any flow, and `ref` may be left out.

    Raises NotFound, NotAllowed.
    """
    if isinstance(caller, Standard):
        if ref is None:
            raise InvalidInput("algorithm must be owner/name, for example demo/Resize")
        return _flow(catalog, own_algorithm(catalog, caller, ref), flow_id)
    if ref is not None:
        return _flow(catalog, algorithm_of(catalog, ref), flow_id)
    flow = catalog.flow(flow_id.lower())
    if flow is None:
        raise NotFound(
            "there is no event flow of this id: GET /v1/admin/event-flows lists all of them"
        )
    return flow


async def shown(gateway: Gateway, flow: Flow) -> FlowRecord:
    """The flow, with the router's word on it when there is one."""
    (record,) = await _records(gateway, [flow])
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
        check(gateway.catalog, algorithm, flow, asked)
        with named_as_sent(_NAMES):
            result = await gateway.send(enabling(flow, asked), caller, intent)
    else:
        refuse_lost_settings(flow, asked)
        command = registry_pb2.DisableFlowRequest(flow_id=flow.flow_id)
        result = await gateway.send(command, caller, intent)
    changed = gateway.catalog.flow(flow.flow_id)
    if changed is None or changed.stream_version < result.version:
        changed = with_settings(flow, asked, version=result.version)
    return await shown(gateway, changed)


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
