"""Records of the application as messages of `gateway.v1`."""

from __future__ import annotations

from eventflows.gateway.v1 import gateway_pb2

from gateway.application.event_listeners import ListenerRecord
from gateway.application.flow_records import FlowRecord, LiveRecord
from gateway.application.users import UserRecord


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
    )


def _live(record: LiveRecord) -> gateway_pb2.EventFlowLive:
    message = gateway_pb2.EventFlowLive(
        worker=record.worker,
        in_flight=record.in_flight,
        settled_total=record.settled_total,
        dead_lettered_total=record.dead_lettered_total,
        retries_total=record.retries_total,
        partitions=record.partitions,
    )
    if record.lag_records is not None:
        message.lag_records = record.lag_records
    if record.since is not None:
        message.since.FromDatetime(record.since)
    if record.last_progress is not None:
        message.last_progress.FromDatetime(record.last_progress)
    return message
