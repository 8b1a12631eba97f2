"""Records of the application as messages of `gateway.v1`."""

from __future__ import annotations

from catalog.events import RetryRule
from eventflows.gateway.v1 import gateway_pb2

from gateway.application.event_listeners import ListenerRecord
from gateway.application.flow_records import FlowRecord, LiveRecord, PauseRecord
from gateway.application.users import UserRecord
from gateway.domain.delivery import (
    FAILURE_NAMES,
    GIVE_UP_NAMES,
    ORDER_NAMES,
    PARALLELISM_DEFAULT,
    START_NAMES,
)


def user(record: UserRecord) -> gateway_pb2.User:
    return gateway_pb2.User(
        id=record.id,
        username=record.username,
        email=record.email,
        fullname=record.fullname,
        company_name=record.company_name,
        company_role=record.company_role,
        self_link=record.self_link,
        resource_type="user",
    )


def listener(record: ListenerRecord) -> gateway_pb2.EventListener:
    return gateway_pb2.EventListener(
        id=record.id,
        source_type=record.source_type,
        source_uri=record.source_uri,
        algo_name=record.algo_name,
        algo_owner=record.algo_owner,
        algo_version=record.algo_version,
        algo_timeout_seconds=record.algo_timeout_s,
        listener_owner=record.listener_owner,
        credentials=record.credentials,
    )


def flow(record: FlowRecord) -> gateway_pb2.EventFlow:
    return gateway_pb2.EventFlow(
        id=record.id,
        owner=record.owner,
        algorithm=record.algorithm,
        api_type=record.api_type,
        broker=record.broker,
        connection=record.connection,
        connection_id=record.connection_id,
        topic=record.topic,
        enabled=record.enabled,
        algorithm_version=record.algorithm_version,
        dead_letter_topic=record.dead_letter_topic,
        concurrency_max=record.concurrency_max,
        allow_cycle=record.allow_cycle,
        timeout_s=record.timeout_s,
        state=record.state,
        reason=record.reason,
        live=_live(record.live) if record.live is not None else None,
        version=record.stream_version,
        order=ORDER_NAMES[record.delivery.order],
        parallelism=record.delivery.parallelism or PARALLELISM_DEFAULT,
        start=START_NAMES[record.delivery.start],
        read_committed=record.delivery.read_committed,
        retries=[_retry_rule(rule) for rule in record.delivery.retries],
        paused=_pause(record.paused) if record.paused is not None else None,
    )


def _retry_rule(rule: RetryRule) -> gateway_pb2.RetryRule:
    return gateway_pb2.RetryRule(
        failure=FAILURE_NAMES.get(rule.failure, ""),
        error_type=rule.error_type,
        attempts_max=rule.attempts_max,
        age_max_s=rule.age_max_s,
        delay_first_ms=rule.delay_first_ms,
        delay_longest_ms=rule.delay_longest_ms,
        factor=rule.factor,
        give_up=GIVE_UP_NAMES[rule.give_up],
    )


def _pause(record: PauseRecord) -> gateway_pb2.Pause:
    message = gateway_pb2.Pause(drain=record.drain, reason=record.reason)
    if record.since is not None:
        message.since.FromDatetime(record.since)
    return message


def _live(record: LiveRecord) -> gateway_pb2.EventFlowLive:
    message = gateway_pb2.EventFlowLive(
        worker=record.worker,
        in_flight=record.in_flight,
        settled_total=record.settled_total,
        dead_lettered_total=record.dead_lettered_total,
        retries_total=record.retries_total,
        partitions=record.partitions,
        lag_s=record.lag_s,
        oldest_unsettled_s=record.oldest_unsettled_s,
        settled_per_s=record.settled_per_s,
        error_ratio=record.error_ratio,
        repeats_total=record.repeats_total,
        expired_total=record.expired_total,
        halted_keys=record.halted_keys,
        bytes_held=record.bytes_held,
        healthy=record.healthy,
        instances=record.instances,
    )
    if record.lag_records is not None:
        message.lag_records = record.lag_records
    if record.since is not None:
        message.since.FromDatetime(record.since)
    if record.last_progress is not None:
        message.last_progress.FromDatetime(record.last_progress)
    return message
