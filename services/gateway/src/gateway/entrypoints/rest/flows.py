"""Event flows over REST: of one algorithm for its owner, one by one for admins too."""

from __future__ import annotations

from gateway.application import event_flows, pausing
from gateway.application.flow_settings import FlowSettings
from gateway.domain.delivery import AskedRule, delivery
from gateway.entrypoints.rest import present, wire, wire_flows
from gateway.entrypoints.rest.call import Answer, Call, etag
from gateway.entrypoints.rest.operation import KeyKind, Operation, reads, takes


async def list_event_flows(call: Call) -> Answer:
    """List the event flows of one's algorithm, with their state and why."""
    records = await event_flows.list_flows(call.gateway, call.standard, call.algorithm)
    return Answer(body=[present.flow(record) for record in records])


async def get_event_flow(call: Call) -> Answer:
    """Show an event flow."""
    record = await event_flows.get_flow(
        call.gateway, call.caller, call.algorithm_if_named, call.path("flow")
    )
    return Answer(body=present.flow(record), headers=etag(record.stream_version))


async def put_event_flow(call: Call, body: wire_flows.EventFlowPut) -> Answer:
    """Enable an event flow, change its settings, or disable it."""
    asked = FlowSettings(
        enabled=body.enabled,
        algorithm_version=body.algorithm_version or "",
        dead_letter_topic=body.dead_letter_topic or "",
        concurrency_max=body.concurrency_max or 0,
        allow_cycle=body.allow_cycle or False,
        timeout_s=body.timeout_s or 0,
        delivery=delivery(
            order=body.order or "",
            parallelism=body.parallelism or 0,
            start=body.start or "",
            read_committed=body.read_committed or False,
            retries=tuple(_rule(rule) for rule in body.retries or ()),
        ),
    )
    record = await event_flows.put_flow(
        call.gateway, call.standard, call.algorithm, call.path("flow"), asked, call.intent()
    )
    return Answer(body=present.flow(record), headers=etag(record.stream_version))


async def pause_event_flow(call: Call, body: wire_flows.EventFlowPause) -> Answer:
    """Let an event flow start no run for a while; it keeps its settings and its place."""
    record = await pausing.pause_flow(
        call.gateway,
        call.caller,
        call.algorithm_if_named,
        call.path("flow"),
        drain=body.drain or False,
        reason=body.reason or "",
        intent=call.intent(),
    )
    return Answer(body=present.flow(record), headers=etag(record.stream_version))


async def resume_event_flow(call: Call, _body: wire.Empty) -> Answer:
    """Let an event flow go on, and try again what it halted at."""
    record = await pausing.resume_flow(
        call.gateway, call.caller, call.algorithm_if_named, call.path("flow"), call.intent()
    )
    return Answer(body=present.flow(record), headers=etag(record.stream_version))


def _rule(rule: wire_flows.RetryRulePut) -> AskedRule:
    return AskedRule(
        failure=rule.failure or "",
        error_type=rule.error_type or "",
        attempts_max=rule.attempts_max or 0,
        age_max_s=rule.age_max_s or 0,
        delay_first_ms=rule.delay_first_ms or 0,
        delay_longest_ms=rule.delay_longest_ms or 0,
        factor=rule.factor or 0.0,
        give_up=rule.give_up or "",
    )


def _one(path: str, key: KeyKind) -> tuple[Operation, ...]:
    flow = wire_flows.EventFlow
    return (
        reads(path, get_event_flow, key=key, answer=flow, single=True),
        takes(
            "POST", f"{path}/pause", pause_event_flow, key=key, body=wire_flows.EventFlowPause,
            answer=flow,
        ),
        takes("POST", f"{path}/resume", resume_event_flow, key=key, body=wire.Empty, answer=flow),
    )  # fmt: skip


def _of_algorithm(path: str) -> tuple[Operation, ...]:
    one, standard = f"{path}/{{flow}}", KeyKind.STANDARD
    return (
        reads(path, list_event_flows, key=standard, answer=list[wire_flows.EventFlow]),
        takes(
            "PUT", one, put_event_flow, key=standard, body=wire_flows.EventFlowPut,
            answer=wire_flows.EventFlow,
        ),
        *_one(one, standard),
    )  # fmt: skip


OPERATIONS: tuple[Operation, ...] = (
    *_of_algorithm("/v1/algorithms/{algorithm_id}/event-flows"),
    *_of_algorithm("/v1/algorithms/{owner}/{name}/event-flows"),
    *_one("/v1/admin/event-flows/{flow}", KeyKind.ADMIN),
)
