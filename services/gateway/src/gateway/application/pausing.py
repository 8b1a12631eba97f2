"""Pause and resume: a flow starts nothing for a while, and keeps its settings and its place."""

from __future__ import annotations

from dataclasses import replace

from catalog.records import Flow
from eventflows.registry.v1 import registry_pb2

from gateway.application.algorithms import AlgorithmRef
from gateway.application.event_flows import flow_in_reach, shown
from gateway.application.flow_records import FlowRecord, PauseRecord, as_paused
from gateway.application.gateway import Gateway
from gateway.domain.caller import Caller
from gateway.domain.intent import Intent


async def pause_flow(
    gateway: Gateway,
    caller: Caller,
    ref: AlgorithmRef | None,
    flow_id: str,
    *,
    drain: bool,
    reason: str,
    intent: Intent,
) -> FlowRecord:
    """Let a flow start no run from here on; also the way to change `drain` and `reason`.

    `drain`: what was received already is finished first. Raises NotFound, NotAllowed, InvalidInput,
    StateForbids, VersionConflict.
    """
    flow = flow_in_reach(gateway.catalog, caller, ref, flow_id)
    command = registry_pb2.PauseFlowRequest(flow_id=flow.flow_id, drain=drain, reason=reason)
    result = await gateway.send(command, caller, intent)
    changed = _caught_up(gateway, flow, result.version)
    if changed is not None:
        return await shown(gateway, changed)
    record = await shown(gateway, replace(flow, stream_version=result.version))
    since = flow.paused.time if flow.paused is not None else None
    return as_paused(record, PauseRecord(drain=drain, reason=reason, since=since))


async def resume_flow(
    gateway: Gateway, caller: Caller, ref: AlgorithmRef | None, flow_id: str, intent: Intent
) -> FlowRecord:
    """Let a flow go on, and try again what a retry rule of its own halted.

    Raises NotFound, NotAllowed, StateForbids, VersionConflict.
    """
    flow = flow_in_reach(gateway.catalog, caller, ref, flow_id)
    command = registry_pb2.ResumeFlowRequest(flow_id=flow.flow_id)
    result = await gateway.send(command, caller, intent)
    changed = _caught_up(gateway, flow, result.version)
    return await shown(
        gateway, changed or replace(flow, paused=None, stream_version=result.version)
    )


def _caught_up(gateway: Gateway, flow: Flow, version: int) -> Flow | None:
    """The flow as the catalog has it; None when the catalog is behind the command."""
    known = gateway.catalog.flow(flow.flow_id)
    return known if known is not None and known.stream_version >= version else None
