"""Redrives and purges of dead letters that were asked for.

The log has them; the router carries them out and says how far they are.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from catalog.events import DeadLetterSelection
from catalog.records import DeadLetterTask, DeadLetterTaskKind, DeadLetterTaskState, Flow
from eventflows.registry.v1 import registry_pb2
from kernel.errors import InvalidInput, NotFound, StateForbids, Unavailable

from gateway.application.algorithms import AlgorithmRef
from gateway.application.event_flows import flow_in_reach
from gateway.application.gateway import Gateway
from gateway.domain import fields
from gateway.domain.caller import Caller, Standard
from gateway.domain.intent import Intent
from gateway.domain.paging import Page, PageRequest, paginate

STATE_NAMES = {
    DeadLetterTaskState.REQUESTED: "requested",
    DeadLetterTaskState.CANCELLED: "cancelled",
    DeadLetterTaskState.FINISHED: "finished",
}
KIND_NAMES = {DeadLetterTaskKind.REDRIVE: "redrive", DeadLetterTaskKind.PURGE: "purge"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """A redrive or a purge as it is shown. None: not known (yet)."""

    id: str
    kind: str
    flow: str
    algorithm: str
    selection: DeadLetterSelection
    algorithm_version: str
    rate_per_s: float
    own_topic: bool
    state: str
    reason: str
    succeeded: int
    failed: int
    left: int | None
    worker: str
    requested_at: datetime | None
    ended_at: datetime | None
    stream_version: int


def list_tasks(
    gateway: Gateway, caller: Caller, ref: AlgorithmRef | None, flow_id: str, page: PageRequest
) -> Page[TaskRecord]:
    """Newest first, as the log has them: those that go on, and the last ones that ended.

    An admin without `flow_id` sees those of all flows. Raises NotFound, NotAllowed, InvalidInput.
    """
    catalog = gateway.catalog
    if isinstance(caller, Standard) or ref is not None:
        tasks = catalog.dead_letter_tasks_of(flow_in_reach(catalog, caller, ref, flow_id).flow_id)
    elif flow_id:
        if not fields.is_uuid(flow_id):
            raise InvalidInput("flow must be the id of an event flow: use one of GET …/event-flows")
        tasks = catalog.dead_letter_tasks_of(flow_id.lower())
    else:
        tasks = catalog.dead_letter_tasks()
    found = paginate(tasks, page, key=lambda task: (task.requested_position,), descending=True)
    return Page(items=tuple(record_of(gateway, task) for task in found.items), marker=found.marker)


async def get_task(
    gateway: Gateway, caller: Caller, ref: AlgorithmRef | None, flow_id: str, task_id: str
) -> TaskRecord:
    """One of them, with what the router says of it while it goes on. Raises NotFound, NotAllowed.

    As of a moment the log alone speaks.
    """
    task = _task(gateway, caller, ref, flow_id, task_id)
    record = record_of(gateway, task)
    if task.state is not DeadLetterTaskState.REQUESTED or gateway.moment is not None:
        return record
    with suppress(NotFound, StateForbids, Unavailable):
        progress = await gateway.router.dead_letter_task(task.dead_letter_task_id)
        return replace(
            record,
            state=progress.state or record.state,
            reason=progress.reason,
            succeeded=progress.succeeded,
            failed=progress.failed,
            left=progress.left if progress.left >= 0 else None,
            worker=progress.worker,
        )
    return record


async def cancel_task(
    gateway: Gateway,
    caller: Caller,
    ref: AlgorithmRef | None,
    flow_id: str,
    task_id: str,
    intent: Intent,
) -> TaskRecord:
    """Have nothing more done for a task; what it did stays done.

    Raises NotFound, NotAllowed, StateForbids (it has ended), VersionConflict.
    """
    task = _task(gateway, caller, ref, flow_id, task_id)
    command = registry_pb2.CancelDeadLetterTaskRequest(dead_letter_task_id=task.dead_letter_task_id)
    result = await gateway.send(command, caller, intent)
    known = gateway.catalog.dead_letter_task(task.dead_letter_task_id)
    if known is not None and known.stream_version >= result.version:
        return record_of(gateway, known)
    record = record_of(gateway, task)
    return replace(record, state="cancelled", stream_version=result.version)


def _task(
    gateway: Gateway, caller: Caller, ref: AlgorithmRef | None, flow_id: str, task_id: str
) -> DeadLetterTask:
    """One within the caller's reach: an owner names the flow, which must be the task's."""
    task = gateway.catalog.dead_letter_task(task_id.lower())
    if isinstance(caller, Standard) or ref is not None:
        flow = flow_in_reach(gateway.catalog, caller, ref, flow_id)
        if task is not None and task.flow_id != flow.flow_id:
            task = None
    if task is None:
        raise NotFound(
            "there is no redrive or purge of this id here: GET …/dead-letters/tasks lists them, "
            "GET /v1/admin/log?kind=dead_letter_task also those that ended long ago"
        )
    return task


def record_of(gateway: Gateway, task: DeadLetterTask) -> TaskRecord:
    """A task as the catalog has it."""
    flow = gateway.catalog.flow(task.flow_id)
    return TaskRecord(
        id=task.dead_letter_task_id,
        kind=KIND_NAMES[task.kind],
        flow=task.flow_id,
        algorithm=algorithm_name(gateway, flow) if flow is not None else "",
        selection=task.selection,
        algorithm_version=task.algorithm_version,
        rate_per_s=task.rate_per_s,
        own_topic=task.own_topic,
        state=STATE_NAMES[task.state],
        reason=task.problem,
        succeeded=task.succeeded,
        failed=task.failed,
        left=None if task.ended_time is None else 0,
        worker="",
        requested_at=task.requested_time,
        ended_at=task.ended_time,
        stream_version=task.stream_version,
    )


def algorithm_name(gateway: Gateway, flow: Flow) -> str:
    """`owner/name` of the algorithm that a flow is about; its id when it is not known."""
    algorithm = gateway.catalog.algorithm(flow.algorithm_id)
    return algorithm.full_name if algorithm is not None else flow.algorithm_id
