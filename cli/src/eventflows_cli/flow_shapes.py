"""Event flows as documents: what the registry says of them, and what the router does. Pure."""

from __future__ import annotations

from eventflows.catalog.v1 import catalog_pb2
from eventflows.router.v1 import router_pb2

from eventflows_cli.json_shapes import Json, of_message
from eventflows_cli.words import FlowState


def of_flow(
    flow: catalog_pb2.Flow,
    status: router_pb2.FlowStatus | None,
    *,
    name: str,
    silent: bool = False,
) -> Json:
    """One flow. `state` is the router's word where it says one, `live` all that it says.

    `silent`: the router was asked and did not answer, so nobody knows what an enabled flow does.
    """
    enabled = flow.HasField("settings")
    live = of_live(status) if status is not None and enabled else None
    paused = of_message(flow.paused) if flow.HasField("paused") else None
    told = _state(enabled, paused)
    if silent and told == FlowState.ENABLED:
        told = FlowState.UNKNOWN
    return {
        "id": flow.flow_id,
        "name": name,
        "enabled": enabled,
        "state": live["state"] if live is not None else told,
        "reason": live["reason"] if live is not None else (paused or {}).get("reason", ""),
        "paused": paused,
        "live": live,
    }


def of_settings(flow: catalog_pb2.Flow) -> Json | None:
    """The settings that it has, or had before it was disabled; None before the first."""
    for name in ("settings", "last_settings"):
        if flow.HasField(name):
            settings = of_message(getattr(flow, name))
            del settings["flow_id"]
            return settings
    return None


def of_live(status: router_pb2.FlowStatus) -> Json:
    """What the router says; what it does not know yet is null."""
    shape = of_message(status)
    for name in ("flow_id", "instance"):  # the router's answer speaks of the flow as a whole
        del shape[name]
    for name in ("lag_records", "lag_s"):
        shape[name] = shape[name] if shape[name] >= 0 else None
    return shape


def _state(enabled: bool, paused: Json | None) -> str:
    if not enabled:
        return FlowState.DISABLED
    return FlowState.ENABLED if paused is None else FlowState.PAUSED
