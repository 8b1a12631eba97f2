"""A dead letter task: work on a flow's dead letters that a person asked for.

(none) ── RequestRedrive, RequestPurge ──▶ open ── CancelTask ──▶ cancelled
                                             └──── FinishTask ──▶ finished

The router carries it out while it is open, as often as its workers change, and then finishes it.
Both ends are for good: what was redriven or purged stays so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from catalog.events import (
    DeadLetterSelection,
    DeadLetterTaskCancelled,
    DeadLetterTaskFinished,
    Event,
    PurgeRequested,
    RedriveRequested,
)
from kernel.decider import Decider
from kernel.errors import AlreadyExists, InvalidInput, NotFound, StateForbids, TooLarge

from registry.domain import values
from registry.domain.claim import Claims

OPEN_TASKS_MAX = 8
"""Of one flow. The catalog that counts them may be a moment old, so a few more may slip through."""
RATE_DEFAULT_PER_S = 10.0
RATE_MIN_PER_S = 0.01
RATE_MAX_PER_S = 1_000.0
PARTITIONS_MAX = 1_000
LETTER_IDS_MAX = 1_000
RECORD_KEY_BYTES_MAX = 64 * 1024
INT64_MAX = 2**63 - 1

_LETTER_ID = re.compile(r"\d{1,10}-\d{1,19}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRedrive:
    """Send the dead letters again. Empty version: the flow's; `rate_per_s` 0: 10; `own_topic`:
    those in the flow's own dead letter topic."""

    dead_letter_task_id: str
    flow_id: str
    selection: DeadLetterSelection
    algorithm_version: str = ""
    rate_per_s: float = 0.0
    own_topic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPurge:
    """Forget the dead letters."""

    dead_letter_task_id: str
    flow_id: str
    selection: DeadLetterSelection


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTask:
    """Do nothing more; what was done stays."""

    dead_letter_task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishTask:
    """It was carried out, or `problem` says why it could not be."""

    dead_letter_task_id: str
    succeeded: int
    failed: int
    problem: str = ""


Command: TypeAlias = RequestRedrive | RequestPurge | CancelTask | FinishTask


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterTask:
    """State. One of `redrive` and `purge` is what was asked for; at most one of the two ends."""

    redrive: RedriveRequested | None = None
    purge: PurgeRequested | None = None
    cancelled: bool = False
    finished: DeadLetterTaskFinished | None = None


def decide(command: Command, state: DeadLetterTask | None) -> Sequence[Event]:
    """Raises InvalidInput, TooLarge, NotFound, AlreadyExists, StateForbids."""
    match command:
        case RequestRedrive():
            return _request(_redrive(command), state)
        case RequestPurge():
            return _request(_purge(command), state)
        case CancelTask():
            known = _known(state)
            if known.finished is not None:
                raise StateForbids("this task has finished: there is nothing left to cancel")
            if known.cancelled:
                return []
            return [DeadLetterTaskCancelled(dead_letter_task_id=command.dead_letter_task_id)]
        case FinishTask():
            return _finish(command, _known(state))
        case _:
            assert_never(command)


def evolve(state: DeadLetterTask | None, event: Event) -> DeadLetterTask | None:
    """The state after one more event."""
    match event:
        case RedriveRequested():
            return DeadLetterTask(redrive=event)
        case PurgeRequested():
            return DeadLetterTask(purge=event)
        case DeadLetterTaskCancelled() if state:
            return replace(state, cancelled=True)
        case DeadLetterTaskFinished() if state:
            return replace(state, finished=event)
        case _:
            return state


def claims(_state: DeadLetterTask | None, _events: Iterable[Event]) -> Claims:
    """None: a task has no name."""
    return Claims()


decider: Decider[Command, DeadLetterTask | None, Event] = Decider(
    initial=None, decide=decide, evolve=evolve
)


def _redrive(command: RequestRedrive) -> RedriveRequested:
    if command.algorithm_version:
        values.semantic_version("algorithm_version", command.algorithm_version)
    rate_per_s = command.rate_per_s or RATE_DEFAULT_PER_S
    if not RATE_MIN_PER_S <= rate_per_s <= RATE_MAX_PER_S:  # also refuses NaN
        raise InvalidInput(
            f"rate_per_s must be 0 (which means {RATE_DEFAULT_PER_S:g}) or between "
            f"{RATE_MIN_PER_S:g} and {RATE_MAX_PER_S:g}"
        )
    return RedriveRequested(
        dead_letter_task_id=command.dead_letter_task_id,
        flow_id=command.flow_id,
        selection=command.selection,
        algorithm_version=command.algorithm_version,
        rate_per_s=rate_per_s,
        own_topic=command.own_topic,
    )


def _purge(command: RequestPurge) -> PurgeRequested:
    return PurgeRequested(
        dead_letter_task_id=command.dead_letter_task_id,
        flow_id=command.flow_id,
        selection=command.selection,
    )


def _request(
    wish: RedriveRequested | PurgeRequested, state: DeadLetterTask | None
) -> Sequence[Event]:
    values.uuid("dead_letter_task_id", wish.dead_letter_task_id)
    values.uuid("flow_id", wish.flow_id)
    _check_selection(wish.selection)
    if state is None:
        return [wish]
    if wish in (state.redrive, state.purge):
        return []
    raise AlreadyExists("a task with this dead_letter_task_id exists: choose a fresh uuid")


def _finish(command: FinishTask, state: DeadLetterTask) -> Sequence[Event]:
    values.between("succeeded", command.succeeded, low=0, high=INT64_MAX)
    values.between("failed", command.failed, low=0, high=INT64_MAX)
    values.line("problem", command.problem)
    wish = DeadLetterTaskFinished(
        dead_letter_task_id=command.dead_letter_task_id,
        succeeded=command.succeeded,
        failed=command.failed,
        problem=command.problem,
    )
    if state.finished == wish:
        return []
    if state.finished is not None or state.cancelled:
        how = "was cancelled" if state.cancelled else "has finished with other counts"
        raise StateForbids(f"this task {how}: there is nothing left to do for it")
    return [wish]


def _check_selection(selection: DeadLetterSelection) -> None:
    values.line(
        "selection.error_type", selection.error_type, length_max=values.ERROR_TYPE_LENGTH_MAX
    )
    if selection.topic:
        values.topic("selection.topic", selection.topic)
    if selection.since and selection.until and selection.since >= selection.until:
        raise InvalidInput("selection.since must be before selection.until")
    if len(selection.record_key) > RECORD_KEY_BYTES_MAX:
        raise TooLarge(f"selection.record_key must have at most {RECORD_KEY_BYTES_MAX} bytes")
    if len(selection.partitions) > PARTITIONS_MAX:
        raise TooLarge(f"selection.partitions must name at most {PARTITIONS_MAX}")
    if any(partition < 0 for partition in selection.partitions):
        raise InvalidInput("selection.partitions must not be negative")
    if not 0 <= selection.offset_first <= selection.offset_last:
        raise InvalidInput("selection.offset_last must be offset_first or more, and both 0 or more")
    if len(selection.letter_ids) > LETTER_IDS_MAX:
        raise TooLarge(f"selection.letter_ids must name at most {LETTER_IDS_MAX}")
    if not all(_is_letter_id(letter_id) for letter_id in selection.letter_ids):
        raise InvalidInput("selection.letter_ids must be ids of dead letters, such as 3-1047")


def _is_letter_id(text: str) -> bool:
    """Two numbers that Kafka can have: the router would wait for ever with another one."""
    if not _LETTER_ID.fullmatch(text):
        return False
    partition, _, offset = text.partition("-")
    return int(partition) <= values.INT32_MAX and int(offset) <= INT64_MAX


def _known(state: DeadLetterTask | None) -> DeadLetterTask:
    if state is None:
        raise NotFound("there is no dead letter task with this id")
    return state
