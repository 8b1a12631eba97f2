"""Asking for redrives and purges of dead letters: in the log, so that it is known who did so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from catalog.catalog import Catalog
from catalog.codec import fill
from catalog.events import DeadLetterSelection, FlowKind
from catalog.records import DeadLetterTaskKind, DeadLetterTaskState, Flow
from catalog.versions import newest_version
from eventflows.registry.v1 import registry_pb2
from kernel.errors import InvalidInput, StateForbids

from gateway.application.algorithms import AlgorithmRef
from gateway.application.dead_letter_tasks import (
    KIND_NAMES,
    STATE_NAMES,
    TaskRecord,
    algorithm_name,
    record_of,
)
from gateway.application.dead_letters import LetterCount, count_letters
from gateway.application.event_flows import flow_in_reach
from gateway.application.flow_settings import LATEST, check_version
from gateway.application.gateway import Gateway
from gateway.domain.caller import Caller
from gateway.domain.intent import Intent

Request: TypeAlias = registry_pb2.RequestRedriveRequest | registry_pb2.RequestPurgeRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class RedriveWish:
    """Dead letters of a flow that shall be sent again. Empty version: the flow's, `latest`: the one
    that was published last when it is asked for; a rate of 0: 10, it is a ceiling;
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
    wish = checked_redrive(gateway.catalog, flow, wish)
    command = registry_pb2.RequestRedriveRequest(
        dead_letter_task_id=intent.new_id("dead letter task"),
        flow_id=flow.flow_id,
        algorithm_version=wish.algorithm_version,
        rate_per_s=wish.rate_per_s,
        own_topic=wish.own_topic,
    )
    fill(wish.chosen, command.selection)
    record = replace(
        _begun(gateway, flow, command, DeadLetterTaskKind.REDRIVE, wish.chosen),
        algorithm_version=wish.algorithm_version,
        rate_per_s=wish.rate_per_s,
        own_topic=wish.own_topic,
    )
    return await _requested(gateway, caller, command, record, intent)


async def redrive_count(
    gateway: Gateway, caller: Caller, ref: AlgorithmRef | None, wish: RedriveWish
) -> LetterCount:
    """How many a redrive would take now. Raises as `redrive`, and Unavailable."""
    flow = flow_in_reach(gateway.catalog, caller, ref, wish.flow)
    wish = checked_redrive(gateway.catalog, flow, wish)
    return await count_letters(gateway, flow, wish.chosen, own_topic=wish.own_topic)


def checked_redrive(catalog: Catalog, flow: Flow, wish: RedriveWish) -> RedriveWish:
    """The wish, with the version that `latest` means now.

    Raises NotFound (1014) for a version that is not published of the algorithm that the flow runs
    (of a chain flow the one at its end), InvalidInput for a flow that runs none, StateForbids for
    the own topic of a flow without one.
    """
    if wish.algorithm_version and flow.kind is FlowKind.PUBLISHER:
        raise InvalidInput(
            "algorithm_version: a publisher flow writes to a topic and runs no algorithm, leave it "
            "out"
        )
    if wish.own_topic and not flow.own_dead_letter_topic:
        raise StateForbids(
            "own_topic: the flow has no dead letter topic of its own, leave it out: its dead "
            "letters are in the internal topic"
        )
    algorithm = catalog.algorithm(flow.target_algorithm_id or flow.algorithm_id)
    if algorithm is None:
        return wish
    newest = newest_version(algorithm)
    if wish.algorithm_version == LATEST and newest is not None:
        return replace(wish, algorithm_version=newest.version)
    check_version(algorithm, wish.algorithm_version)
    return wish


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
    fill(wish.chosen, command.selection)
    record = _begun(gateway, flow, command, DeadLetterTaskKind.PURGE, wish.chosen)
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


async def _requested(
    gateway: Gateway, caller: Caller, command: Request, record: TaskRecord, intent: Intent
) -> TaskRecord:
    """As the catalog has it, or `record` when the catalog is behind the command."""
    result = await gateway.send(command, caller, intent)
    known = gateway.catalog.dead_letter_task(record.id)
    if known is not None and known.stream_version >= result.version:
        return record_of(gateway, known)
    return replace(record, stream_version=result.version)


def _begun(
    gateway: Gateway,
    flow: Flow,
    command: Request,
    kind: DeadLetterTaskKind,
    chosen: DeadLetterSelection,
) -> TaskRecord:
    """What is known of a task before the log tells it."""
    return TaskRecord(
        id=command.dead_letter_task_id,
        kind=KIND_NAMES[kind],
        flow=flow.flow_id,
        algorithm=algorithm_name(gateway, flow),
        selection=chosen,
        algorithm_version="",
        rate_per_s=0.0,
        own_topic=False,
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
