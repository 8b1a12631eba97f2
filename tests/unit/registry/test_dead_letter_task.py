"""Given events, when a command, then events or a refusal: dead letter tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from catalog.events import (
    ApiType,
    DeadLetterSelection,
    DeadLetterTaskCancelled,
    DeadLetterTaskFinished,
    Event,
    PurgeRequested,
    RedriveRequested,
)
from kernel.errors import AlreadyExists, InvalidInput, NotFound, StateForbids, TooLarge
from registry.application import checks
from registry.domain import dead_letter_task
from registry.domain.dead_letter_task import (
    LETTER_IDS_MAX,
    OPEN_TASKS_MAX,
    PARTITIONS_MAX,
    RECORD_KEY_BYTES_MAX,
    CancelTask,
    FinishTask,
    RequestPurge,
    RequestRedrive,
)

from tests.support.event_log import EventLog, flow_id_of, id_of

TASK = id_of("task")
FLOW = flow_id_of("plant", "orders", "acme/digits", ApiType.SUBSCRIBER)
ALL = DeadLetterSelection()
REDRIVE = RequestRedrive(dead_letter_task_id=TASK, flow_id=FLOW, selection=ALL)
REDRIVING = RedriveRequested(dead_letter_task_id=TASK, flow_id=FLOW, selection=ALL, rate_per_s=10.0)
PURGE = RequestPurge(dead_letter_task_id=TASK, flow_id=FLOW, selection=ALL)
PURGING = PurgeRequested(dead_letter_task_id=TASK, flow_id=FLOW, selection=ALL)
CANCEL = CancelTask(dead_letter_task_id=TASK)
CANCELLED = DeadLetterTaskCancelled(dead_letter_task_id=TASK)
FINISH = FinishTask(dead_letter_task_id=TASK, succeeded=3, failed=1)
FINISHED = DeadLetterTaskFinished(dead_letter_task_id=TASK, succeeded=3, failed=1)


def _decide(given: Sequence[Event], command: Any) -> Sequence[Event]:
    return dead_letter_task.decider.decide(command, dead_letter_task.decider.fold(given))


@pytest.mark.parametrize(
    ("given", "when", "then"),
    [
        ([], REDRIVE, [REDRIVING]),
        ([], replace(REDRIVE, rate_per_s=0.5), [replace(REDRIVING, rate_per_s=0.5)]),
        ([], replace(REDRIVE, own_topic=True), [replace(REDRIVING, own_topic=True)]),
        (
            [],
            replace(REDRIVE, algorithm_version="1.0.2"),
            [replace(REDRIVING, algorithm_version="1.0.2")],
        ),
        ([REDRIVING], REDRIVE, []),
        ([REDRIVING, FINISHED], REDRIVE, []),
        ([], PURGE, [PURGING]),
        ([PURGING], PURGE, []),
        ([REDRIVING], CANCEL, [CANCELLED]),
        ([REDRIVING, CANCELLED], CANCEL, []),
        ([PURGING], FINISH, [FINISHED]),
        ([PURGING, FINISHED], FINISH, []),
    ],
)
def test_a_command_becomes_events_once(given: list[Event], when: Any, then: list[Event]) -> None:
    assert _decide(given, when) == then


@pytest.mark.parametrize(
    ("given", "when", "error", "sentence"),
    [
        ([], CANCEL, NotFound, "there is no dead letter task"),
        ([], FINISH, NotFound, "there is no dead letter task"),
        ([REDRIVING], PURGE, AlreadyExists, "choose a fresh uuid"),
        ([REDRIVING], replace(REDRIVE, rate_per_s=1.0), AlreadyExists, "choose a fresh uuid"),
        ([REDRIVING, FINISHED], CANCEL, StateForbids, "nothing left to cancel"),
        ([REDRIVING, CANCELLED], FINISH, StateForbids, "this task was cancelled"),
        ([REDRIVING, FINISHED], replace(FINISH, failed=2), StateForbids, "with other counts"),
        ([], replace(REDRIVE, dead_letter_task_id="1"), InvalidInput, "must be a uuid"),
        ([], replace(PURGE, flow_id=""), InvalidInput, "flow_id must be a uuid"),
        ([], replace(REDRIVE, algorithm_version="latest"), InvalidInput, "such as 1.0.2"),
        ([], replace(REDRIVE, rate_per_s=1000.1), InvalidInput, "between 0.01 and 1000"),
        ([], replace(REDRIVE, rate_per_s=-1.0), InvalidInput, "between 0.01 and 1000"),
        ([], replace(REDRIVE, rate_per_s=float("nan")), InvalidInput, "between 0.01 and 1000"),
        ([PURGING], replace(FINISH, succeeded=-1), InvalidInput, "succeeded must be between"),
        ([PURGING], replace(FINISH, problem="a\nb"), InvalidInput, "problem must be a single"),
    ],
)
def test_what_the_state_or_the_values_forbid_is_refused(
    given: list[Event], when: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        _decide(given, when)


@pytest.mark.parametrize(
    ("selection", "error", "sentence"),
    [
        (
            DeadLetterSelection(
                since=datetime(2026, 1, 2, tzinfo=UTC), until=datetime(2026, 1, 2, tzinfo=UTC)
            ),
            InvalidInput,
            "since must be before",
        ),
        (DeadLetterSelection(error_type="x" * 201), TooLarge, "error_type must have at most 200"),
        (DeadLetterSelection(topic="a b"), InvalidInput, "selection.topic must be a Kafka topic"),
        (DeadLetterSelection(partitions=(0, -1)), InvalidInput, "must not be negative"),
        (DeadLetterSelection(partitions=(0,) * (PARTITIONS_MAX + 1)), TooLarge, "partitions"),
        (DeadLetterSelection(offset_first=2, offset_last=1), InvalidInput, "offset_last must be"),
        (DeadLetterSelection(offset_first=-1), InvalidInput, "both 0 or more"),
        (DeadLetterSelection(letter_ids=("3-1047", "x")), InvalidInput, "such as 3-1047"),
        (DeadLetterSelection(letter_ids=("2147483648-0",)), InvalidInput, "such as 3-1047"),
        (DeadLetterSelection(letter_ids=("0-9999999999999999999",)), InvalidInput, "such as 3"),
        (DeadLetterSelection(letter_ids=("1-1",) * (LETTER_IDS_MAX + 1)), TooLarge, "letter_ids"),
        (DeadLetterSelection(record_key=bytes(RECORD_KEY_BYTES_MAX + 1)), TooLarge, "record_key"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(
    selection: DeadLetterSelection, error: type[Exception], sentence: str
) -> None:
    for request in (replace(REDRIVE, selection=selection), replace(PURGE, selection=selection)):
        with pytest.raises(error, match=sentence):
            _decide([], request)


# ---- what other aggregates say -------------------------------------------------------------------


@pytest.fixture
def log() -> EventLog:
    log = EventLog()
    log.account("acme")
    log.algorithm("acme/digits", "1.0.0", "1.1.0")
    log.algorithm("acme/labels", "2.0.0")
    log.connection("plant")
    log.subscribe("plant", "orders", "acme/digits")
    return log


Check = Callable[[Any], Any]


def redrive(flow_id: str, version: str = "") -> Check:
    return checks.request_redrive(replace(REDRIVE, flow_id=flow_id, algorithm_version=version))


def test_a_task_is_about_a_flow_that_exists(log: EventLog) -> None:
    for check in (checks.request_redrive(REDRIVE), checks.request_purge(PURGE)):
        assert check(log.catalog()) in (REDRIVE, PURGE)
        with pytest.raises(NotFound, match="there is no flow"):
            check(EventLog().catalog())


def test_a_redrive_runs_a_version_that_is_published(log: EventLog) -> None:
    redrive(FLOW, "1.0.0")(log.catalog())
    with pytest.raises(NotFound, match="no published version of this number"):
        redrive(FLOW, "2.0.0")(log.catalog())
    chain = log.chain("acme/digits", "acme/labels")
    redrive(chain, "2.0.0")(log.catalog())
    with pytest.raises(NotFound, match="no published version of this number"):
        redrive(chain, "1.0.0")(log.catalog())


def test_a_redrive_of_a_publisher_flow_names_no_version(log: EventLog) -> None:
    publisher = log.publish_to("plant", "labels", "acme/digits")
    redrive(publisher)(log.catalog())
    with pytest.raises(InvalidInput, match="leave algorithm_version out"):
        redrive(publisher, "1.0.0")(log.catalog())


def test_a_flow_has_so_many_open_tasks_and_no_more(log: EventLog) -> None:
    tasks = [log.purge(FLOW, f"task {number}") for number in range(OPEN_TASKS_MAX)]
    for check in (checks.request_redrive(REDRIVE), checks.request_purge(PURGE)):
        with pytest.raises(StateForbids, match="8 dead letter tasks that go on: wait until one"):
            check(log.catalog())
    again = replace(PURGE, dead_letter_task_id=tasks[0])
    assert checks.request_purge(again)(log.catalog()) == again, "asked for already"
    log.finish(tasks[0])
    assert checks.request_purge(PURGE)(log.catalog()) == PURGE
