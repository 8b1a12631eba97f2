"""The event flows of one algorithm, over REST."""

from __future__ import annotations

from gateway.application import event_flows
from gateway.entrypoints.rest import present, wire_flows
from gateway.entrypoints.rest.call import Answer, Call, etag
from gateway.entrypoints.rest.operation import KeyKind, Operation, reads, takes


async def list_event_flows(call: Call) -> Answer:
    """List the event flows of one's algorithm, with their state and why."""
    records = await event_flows.list_flows(call.gateway, call.standard, call.algorithm)
    return Answer(body=[present.flow(record) for record in records])


async def get_event_flow(call: Call) -> Answer:
    """Show an event flow."""
    record = await event_flows.get_flow(
        call.gateway, call.standard, call.algorithm, call.path("flow")
    )
    return Answer(body=present.flow(record), headers=etag(record.stream_version))


async def put_event_flow(call: Call, body: wire_flows.EventFlowPut) -> Answer:
    """Enable an event flow, change its settings, or disable it."""
    asked = event_flows.FlowSettings(
        enabled=body.enabled,
        algorithm_version=body.algorithm_version or "",
        dead_letter_topic=body.dead_letter_topic or "",
        concurrency_max=body.concurrency_max or 0,
        allow_cycle=body.allow_cycle or False,
        timeout_s=body.timeout_s or 0,
    )
    record = await event_flows.put_flow(
        call.gateway, call.standard, call.algorithm, call.path("flow"), asked, call.intent()
    )
    return Answer(body=present.flow(record), headers=etag(record.stream_version))


def _below(path: str) -> tuple[Operation, ...]:
    one = f"{path}/{{flow}}"
    return (
        reads(path, list_event_flows, key=KeyKind.STANDARD, answer=list[wire_flows.EventFlow]),
        reads(one, get_event_flow, key=KeyKind.STANDARD, answer=wire_flows.EventFlow, single=True),
        takes(
            "PUT",
            one,
            put_event_flow,
            key=KeyKind.STANDARD,
            body=wire_flows.EventFlowPut,
            answer=wire_flows.EventFlow,
        ),
    )


OPERATIONS: tuple[Operation, ...] = (
    *_below("/v1/algorithms/{algorithm_id}/event-flows"),
    *_below("/v1/algorithms/{owner}/{name}/event-flows"),
)
