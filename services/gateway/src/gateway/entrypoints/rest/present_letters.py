"""Dead letters and their tasks as JSON of the REST API."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any, Literal

from catalog.events import DeadLetterSelection
from eventflows.router.v1 import router_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.application.dead_letter_tasks import TaskRecord
from gateway.application.dead_letters import STATE_NAMES
from gateway.domain.delivery import FAILURE_NAMES
from gateway.domain.letter_selection import offsets_asked
from gateway.entrypoints.rest import wire_letters
from gateway.entrypoints.rest.present import optional_time


def letter(message: router_pb2.DeadLetter) -> wire_letters.DeadLetter:
    return wire_letters.DeadLetter(**_letter_fields(message))


def whole_letter(answer: router_pb2.GetDeadLetterResponse) -> wire_letters.WholeDeadLetter:
    return wire_letters.WholeDeadLetter(
        **_letter_fields(answer.letter),
        value=_text(answer.value) if answer.has_value else None,
        value_base64=_base64(answer.value) if answer.has_value else None,
        headers=[
            wire_letters.RecordHeader(
                name=one.name, value=_text(one.value), value_base64=_base64(one.value)
            )
            for one in answer.headers
        ],
        history=[
            wire_letters.FailedAttempt(
                attempt=one.attempt, at=_time(one.at), outcome=one.outcome, error=one.error
            )
            for one in answer.history
        ],
        truncated=answer.truncated,
    )


def task(record: TaskRecord) -> wire_letters.DeadLetterTask:
    kind: Literal["redrive", "purge"] = "redrive" if record.kind == "redrive" else "purge"
    return wire_letters.DeadLetterTask(
        id=record.id,
        kind=kind,
        flow=record.flow,
        algorithm=record.algorithm,
        selection=_selection(record.selection),
        algorithm_version=record.algorithm_version or None,
        rate_per_s=record.rate_per_s or None,
        own_topic=record.own_topic,
        state=record.state,
        reason=record.reason,
        succeeded=record.succeeded,
        failed=record.failed,
        left=record.left,
        worker=record.worker or None,
        requested_at=optional_time(record.requested_at),
        ended_at=optional_time(record.ended_at),
    )


def _letter_fields(message: router_pb2.DeadLetter) -> dict[str, Any]:
    return {
        "id": message.letter_id,
        "letter_topic": message.letter_topic,
        "flow": message.flow_id,
        "algorithm": message.algorithm,
        "algorithm_version": message.algorithm_version,
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "record_time": _time(message.record_time),
        "key": _text(message.record_key) if message.has_key else None,
        "key_base64": _base64(message.record_key) if message.has_key else None,
        "value_bytes": message.value_bytes,
        "reason": message.reason,
        "error_type": message.error_type,
        "error": message.error,
        "attempts": message.attempts,
        "first_time": _time(message.first_time),
        "given_up_time": _time(message.given_up_time),
        "request_id": message.request_id,
        "generation": message.generation,
        "state": STATE_NAMES.get(message.state, "open"),
        "state_time": _time(message.state_time),
        "task": message.dead_letter_task_id or None,
    }


def _selection(chosen: DeadLetterSelection) -> wire_letters.Selection:
    offset_first, offset_last = offsets_asked(chosen)
    return wire_letters.Selection(
        since=optional_time(chosen.since),
        until=optional_time(chosen.until),
        failure=FAILURE_NAMES.get(chosen.failure),
        error_type=chosen.error_type or None,
        key=_text(chosen.record_key) if chosen.record_key else None,
        key_base64=_base64(chosen.record_key) if chosen.record_key else None,
        topic=chosen.topic or None,
        partitions=list(chosen.partitions),
        offset_first=offset_first,
        offset_last=offset_last,
        letters=list(chosen.letter_ids),
    )


def _text(content: bytes) -> str | None:
    """None for what is no UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _time(stamp: Timestamp) -> str | None:
    known = stamp.seconds or stamp.nanos
    moment: datetime | None = stamp.ToDatetime(tzinfo=UTC) if known else None
    return optional_time(moment)
