"""Dead letters and their tasks as messages of `gateway.v1`."""

from __future__ import annotations

from datetime import datetime

from catalog.events import DeadLetterSelection
from eventflows.gateway.v1 import gateway_pb2
from eventflows.router.v1 import router_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.application.dead_letter_tasks import TaskRecord
from gateway.application.dead_letters import STATE_NAMES
from gateway.domain.delivery import FAILURE_NAMES
from gateway.domain.letter_selection import offsets_asked
from gateway.domain.moment import exact_time


def letter(message: router_pb2.DeadLetter) -> gateway_pb2.DeadLetter:
    return gateway_pb2.DeadLetter(
        id=message.letter_id,
        letter_topic=message.letter_topic,
        flow=message.flow_id,
        algorithm=message.algorithm,
        algorithm_version=message.algorithm_version,
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        record_time=_known(message, "record_time"),
        key=message.record_key,
        has_key=message.has_key,
        value_bytes=message.value_bytes,
        reason=message.reason,
        error_type=message.error_type,
        error=message.error,
        attempts=message.attempts,
        first_time=_known(message, "first_time"),
        given_up_time=_known(message, "given_up_time"),
        request_id=message.request_id,
        generation=message.generation,
        state=STATE_NAMES.get(message.state, "open"),
        state_time=_known(message, "state_time"),
        task=message.dead_letter_task_id,
    )


def whole_letter(answer: router_pb2.GetDeadLetterResponse) -> gateway_pb2.WholeDeadLetter:
    return gateway_pb2.WholeDeadLetter(
        dead_letter=letter(answer.letter),
        value=answer.value,
        has_value=answer.has_value,
        headers=[
            gateway_pb2.RecordHeader(name=one.name, value=one.value) for one in answer.headers
        ],
        history=[
            gateway_pb2.FailedAttempt(
                attempt=one.attempt, at=_known(one, "at"), outcome=one.outcome, error=one.error
            )
            for one in answer.history
        ],
        truncated=answer.truncated,
    )


def task(record: TaskRecord) -> gateway_pb2.DeadLetterTask:
    return gateway_pb2.DeadLetterTask(
        id=record.id,
        kind=record.kind,
        flow=record.flow,
        algorithm=record.algorithm,
        selection=_selection(record.selection),
        algorithm_version=record.algorithm_version,
        rate_per_s=record.rate_per_s,
        own_topic=record.own_topic,
        state=record.state,
        reason=record.reason,
        succeeded=record.succeeded,
        failed=record.failed,
        left=record.left,
        worker=record.worker,
        requested_time=_stamp(record.requested_at),
        ended_time=_stamp(record.ended_at),
        version=record.stream_version,
    )


def _selection(chosen: DeadLetterSelection) -> gateway_pb2.DeadLetterSelection:
    offset_first, offset_last = offsets_asked(chosen)
    return gateway_pb2.DeadLetterSelection(
        since=exact_time(chosen.since) if chosen.since is not None else "",
        until=exact_time(chosen.until) if chosen.until is not None else "",
        failure=FAILURE_NAMES.get(chosen.failure, ""),
        error_type=chosen.error_type,
        key=chosen.record_key,
        topic=chosen.topic,
        partitions=chosen.partitions,
        offset_first=offset_first,
        offset_last=offset_last,
        letters=chosen.letter_ids,
    )


def _stamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _known(
    message: router_pb2.DeadLetter | router_pb2.FailedAttempt, name: str
) -> Timestamp | None:
    """A time that is unset stays unset."""
    stamp: Timestamp = getattr(message, name)
    return stamp if message.HasField(name) else None  # type: ignore[arg-type]
