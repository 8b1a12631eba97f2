"""Redrives and purges of dead letters: asked for in the log, so that it is known who did so.

The router carries them out and says how far they are.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from catalog.catalog import Catalog
from catalog.codec import fill
from catalog.events import DeadLetterSelection, FlowKind
from catalog.records import DeadLetterTask, DeadLetterTaskKind, DeadLetterTaskState, Flow
from eventflows.registry.v1 import registry_pb2
from kernel.errors import InvalidInput, NotFound, StateForbids, Unavailable

from gateway.application.algorithms import AlgorithmRef
from gateway.application.dead_letters import LetterCount, count_letters
from gateway.application.event_flows import flow_in_reach
from gateway.application.flow_settings import check_version
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RedriveWish:
    """Dead letters of a flow that shall be sent again. Empty version: the flow's; a rate of 0: 10;
    `own_topic`: those in the flow's own dead letter topic."""

    flow: str
    chosen: DeadLetterSelection
    algorithm_version: str = ""
    rate_per_s: float = 0.0
    own_topic: bool = False


async def redrive(
    gateway: Gateway, caller: Caller, ref: AlgorithmRef | None, wish: RedriveWish, intent: Intent
) -> TaskRecord:
    """Have dead letters of a flow sent again.

    Raises NotFound (1014 for the version), NotAllowed, InvalidInput, StateForbids, VersionConflict.
    """
    flow = flow_in_reach(gateway.catalog, caller, ref, wish.flow)
    check_redrive(gateway.catalog, flow, wish)
    command = registry_pb2.RequestRedriveRequest(
        dead_letter_task_id=intent.new_id("dead letter task"),
        flow_id=flow.flow_id,
        algorithm_version=wish.algorithm_version,
        rate_per_s=wish.rate_per_s,
        own_topic=wish.own_topic,
    )
    record = _begun(gateway, flow, command, wish, kind=DeadLetterTaskKind.REDRIVE)
    return await _requested(gateway, caller, command, record, intent)


async def redrive_count(
    gateway: Gateway, caller: Caller, ref: AlgorithmRef | None, wish: RedriveWish
) -> LetterCount:
    """How many a redrive would take now. Raises as `redrive`, and Unavailable."""
    flow = flow_in_reach(gateway.catalog, caller, ref, wish.flow)
    check_redrive(gateway.catalog, flow, wish)
    return await count_letters(gateway, flow, wish.chosen, own_topic=wish.own_topic)


def check_redrive(catalog: Catalog, flow: Flow, wish: RedriveWish) -> None:
    """Raises NotFound (1014) for a version that is not published of the algorithm that the flow
    runs (of a chain flow the one at its end), InvalidInput for a flow that runs none, StateForbids
    for the own topic of a flow without one."""
    if wish.algorithm_version and flow.kind is FlowKind.PUBLISHER:
        raise InvalidInput(
            "algorithm_version: a publisher flow writes to a topic and runs no algorithm, leave it "
            "out"
        )
    settings = flow.settings or flow.last_settings
    if wish.own_topic and not (settings and settings.dead_letter_topic):
        raise StateForbids(
            "own_topic: the flow has no dead letter topic of its own, leave it out: its dead "
            "letters are in the internal topic"
        )
    algorithm = catalog.algorithm(flow.target_algorithm_id or flow.algorithm_id)
    if algorithm is not None:
        check_version(algorithm, wish.algorithm_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeWish:
    """Dead letters of a flow that shall be forgotten. `own_topic` is refused."""

    flow: str
    chosen: DeadLetterSelection
    own_topic: bool = False


async def purge(
    gateway: Gateway, caller: Caller, ref: AlgorithmRef | None, wish: PurgeWish, intent: Intent
) -> TaskRecord:
    """Have dead letters of a flow forgotten. Raises as `redrive`."""
    flow = _flow_to_purge(gateway, caller, ref, wish)
    command = registry_pb2.RequestPurgeRequest(
        dead_letter_task_id=intent.new_id("dead letter task"), flow_id=flow.flow_id
    )
    as_redrive = RedriveWish(flow=wish.flow, chosen=wish.chosen)
    record = _begun(gateway, flow, command, as_redrive, kind=DeadLetterTaskKind.PURGE)
    return await _requested(gateway, caller, command, record, intent)


async def purge_count(
    gateway: Gateway, caller: Caller, ref: AlgorithmRef | None, wish: PurgeWish
) -> LetterCount:
    """How many a purge would take now. Raises as `purge`, and Unavailable."""
    flow = _flow_to_purge(gateway, caller, ref, wish)
    return await count_letters(gateway, flow, wish.chosen)


def _flow_to_purge(
    gateway: Gateway, caller: Caller, ref: AlgorithmRef | None, wish: PurgeWish
) -> Flow:
    flow = flow_in_reach(gateway.catalog, caller, ref, wish.flow)
    if wish.own_topic:
        raise InvalidInput(
            "own_topic: what a topic of yours keeps is yours to set, by its retention; a purge is "
            "for the internal topic"
        )
    return flow


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
    return Page(items=tuple(_record(gateway, task) for task in found.items), marker=found.marker)


async def get_task(
    gateway: Gateway, caller: Caller, ref: AlgorithmRef | None, flow_id: str, task_id: str
) -> TaskRecord:
    """One of them, with what the router says of it while it goes on. Raises NotFound, NotAllowed.

    As of a moment the log alone speaks.
    """
    task = _task(gateway, caller, ref, flow_id, task_id)
    record = _record(gateway, task)
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
        return _record(gateway, known)
    record = _record(gateway, task)
    return replace(record, state="cancelled", stream_version=result.version)


Request: TypeAlias = registry_pb2.RequestRedriveRequest | registry_pb2.RequestPurgeRequest


async def _requested(
    gateway: Gateway, caller: Caller, command: Request, record: TaskRecord, intent: Intent
) -> TaskRecord:
    """As the catalog has it, or `record` when the catalog is behind the command."""
    result = await gateway.send(command, caller, intent)
    known = gateway.catalog.dead_letter_task(record.id)
    if known is not None and known.stream_version >= result.version:
        return _record(gateway, known)
    return replace(record, stream_version=result.version)


def _begun(
    gateway: Gateway,
    flow: Flow,
    command: Request,
    wish: RedriveWish,
    *,
    kind: DeadLetterTaskKind,
) -> TaskRecord:
    """What is known of a task before the log tells it."""
    fill(wish.chosen, command.selection)
    return TaskRecord(
        id=command.dead_letter_task_id,
        kind=KIND_NAMES[kind],
        flow=flow.flow_id,
        algorithm=_algorithm_name(gateway, flow),
        selection=wish.chosen,
        algorithm_version=wish.algorithm_version,
        rate_per_s=wish.rate_per_s,
        own_topic=wish.own_topic,
        state=STATE_NAMES[DeadLetterTaskState.REQUESTED],
        reason="",
        succeeded=0,
        failed=0,
        left=None,
        worker="",
        requested_at=None,
        ended_at=None,
        stream_version=0,
    )


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


def _record(gateway: Gateway, task: DeadLetterTask) -> TaskRecord:
    flow = gateway.catalog.flow(task.flow_id)
    return TaskRecord(
        id=task.dead_letter_task_id,
        kind=KIND_NAMES[task.kind],
        flow=task.flow_id,
        algorithm=_algorithm_name(gateway, flow) if flow is not None else "",
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


def _algorithm_name(gateway: Gateway, flow: Flow) -> str:
    algorithm = gateway.catalog.algorithm(flow.algorithm_id)
    return algorithm.full_name if algorithm is not None else flow.algorithm_id
