"""Records of the application as JSON of the REST API."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from catalog.events import RetryRule, SourceKind
from msgspec import UNSET

from gateway.application.algorithms import AlgorithmRecord, BuildRecord
from gateway.application.connections import ConnectionRecord, ConnectionTest
from gateway.application.event_listeners import ListenerRecord
from gateway.application.flow_records import FlowRecord, LiveRecord, PauseRecord
from gateway.application.keys import KeyRecord
from gateway.application.topic_access import GrantRecord, TopicAccessRecord, TopicRecord
from gateway.application.users import UserRecord
from gateway.application.versions import CALLABILITY_NAMES
from gateway.domain.certificates import facts_of
from gateway.domain.delivery import (
    FAILURE_NAMES,
    GIVE_UP_NAMES,
    ORDER_NAMES,
    PARALLELISM_DEFAULT,
    START_NAMES,
)
from gateway.entrypoints.rest import wire, wire_algorithms, wire_flows


def time(moment: datetime) -> str:
    """ISO 8601 with milliseconds and Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def optional_time(moment: datetime | None) -> str | None:
    """The same; null when it is not known."""
    return None if moment is None else time(moment)


def user(record: UserRecord) -> wire.User:
    return wire.User(
        id=record.id,
        username=record.username,
        email=record.email,
        fullname=record.fullname,
        company_role=record.company_role,
        self_link=record.self_link,
    )


def key(record: KeyRecord) -> wire.Key:
    return wire.Key(
        id=record.id,
        username=record.username,
        key_label=record.label,
        key_type=record.key_type,
        api_key_mask=record.mask,
        created_at=optional_time(record.created_at),
        api_key=UNSET if record.clear is None else record.clear,
    )


def algorithm(record: AlgorithmRecord) -> wire_algorithms.Algorithm:
    git = record.source_kind is SourceKind.GIT
    return wire_algorithms.Algorithm(
        id=record.id,
        owner=record.owner,
        name=record.name,
        details=wire_algorithms.DetailsShown(
            label=record.label, summary=record.summary, tagline=record.tagline
        ),
        settings=wire_algorithms.SettingsShown(
            algorithm_callability=CALLABILITY_NAMES[record.callability],
            source_visibility=record.source_visibility,
            license=record.license,
            network_access=record.network_access,
            pipeline_enabled=record.pipeline_enabled,
            algorithm_environment=record.algorithm_environment,
        ),
        source=wire_algorithms.SourceShown(
            git_url=record.source_url if git else None,
            endpoint_url=None if git else record.source_url,
        ),
        self_link=record.self_link,
        version_info=_version_info(record) or UNSET,
        build=build(record.build) if record.build is not None else UNSET,
        compilation=_compilation(record.build) or UNSET,
    )


def build(record: BuildRecord) -> wire_algorithms.Build:
    version = record.semantic_version
    return wire_algorithms.Build(
        build_id=record.build_id,
        status="succeeded" if record.succeeded else "failed",
        commit_sha=record.commit_sha,
        started_at=time(record.started_at),
        finished_at=time(record.finished_at),
        version_info=UNSET
        if version is None
        else wire_algorithms.BuildVersion(semantic_version=version),
    )


def listener(record: ListenerRecord) -> wire.EventListener:
    return wire.EventListener(
        id=record.id,
        source_type=record.source_type,
        source_uri=record.source_uri,
        algo_name=record.algo_name,
        algo_owner=record.algo_owner,
        listener_owner=record.listener_owner,
        credentials=record.credentials,
    )


def listener_detail(record: ListenerRecord) -> wire.EventListenerDetail:
    return wire.EventListenerDetail(
        id=record.id,
        source_type=record.source_type,
        source_uri=record.source_uri,
        algo_name=record.algo_name,
        algo_owner=record.algo_owner,
        listener_owner=record.listener_owner,
        credentials=record.credentials,
        algo_timeout_seconds=record.algo_timeout_s,
        algo_version=record.algo_version or UNSET,
    )


def connection(record: ConnectionRecord) -> wire_flows.BrokerConnection:
    certificate = facts_of(record.client_certificate or "")
    return wire_flows.BrokerConnection(
        id=record.id,
        name=record.name,
        broker_url=record.broker_url,
        connection_type=record.connection_type,
        sasl_mechanism=record.sasl_mechanism,
        ca_certificate=record.ca_certificate,
        client_certificate=record.client_certificate,
        client_certificate_subject=certificate.subject if certificate else None,
        client_certificate_expires_at=time(certificate.expires_at) if certificate else None,
        group_prefix=record.group_prefix or None,
        has_credentials=record.has_credentials,
        fingerprint=record.fingerprint,
        created_at=optional_time(record.created_at),
    )


def connection_test(record: ConnectionTest) -> wire_flows.ConnectionTest:
    return wire_flows.ConnectionTest(
        connected=record.connected,
        problem=record.problem,
        brokers=record.brokers,
        topics=record.topics,
        duration_s=record.duration_s,
    )


def topic(record: TopicRecord) -> wire_flows.Topic:
    return wire_flows.Topic(
        name=record.name, partitions=record.partitions, algorithms=_grants(record.algorithms)
    )


def topic_access(record: TopicAccessRecord) -> wire_flows.TopicAccess:
    return wire_flows.TopicAccess(topic=record.topic, algorithms=_grants(record.algorithms))


def flow(record: FlowRecord) -> wire_flows.EventFlow:
    return wire_flows.EventFlow(
        id=record.id,
        owner=record.owner,
        algorithm=record.algorithm,
        api_type=record.api_type,
        broker=record.broker,
        connection=record.connection or None,
        connection_id=record.connection_id or None,
        topic=record.topic,
        enabled=record.enabled,
        algorithm_version=record.algorithm_version or None,
        dead_letter_topic=record.dead_letter_topic or None,
        concurrency_max=record.concurrency_max or None,
        allow_cycle=record.allow_cycle,
        timeout_s=record.timeout_s or None,
        order=ORDER_NAMES[record.delivery.order],
        parallelism=record.delivery.parallelism or PARALLELISM_DEFAULT,
        start=START_NAMES[record.delivery.start],
        read_committed=record.delivery.read_committed,
        retries=[_retry_rule(rule) for rule in record.delivery.retries],
        paused=_pause(record.paused),
        state=record.state,
        reason=record.reason,
        live=_live(record.live),
    )


def _retry_rule(rule: RetryRule) -> wire_flows.RetryRule:
    return wire_flows.RetryRule(
        failure=FAILURE_NAMES.get(rule.failure),
        error_type=rule.error_type or None,
        attempts_max=rule.attempts_max or None,
        age_max_s=rule.age_max_s or None,
        delay_first_ms=rule.delay_first_ms or None,
        delay_longest_ms=rule.delay_longest_ms or None,
        factor=rule.factor or None,
        give_up=GIVE_UP_NAMES[rule.give_up],
    )


def _pause(record: PauseRecord | None) -> wire_flows.Pause | None:
    if record is None:
        return None
    return wire_flows.Pause(
        drain=record.drain, reason=record.reason, since=optional_time(record.since)
    )


def _live(record: LiveRecord | None) -> wire_flows.Live | None:
    if record is None:
        return None
    return wire_flows.Live(
        worker=record.worker,
        since=optional_time(record.since),
        last_progress=optional_time(record.last_progress),
        lag_records=record.lag_records,
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


def _version_info(record: AlgorithmRecord) -> wire_algorithms.VersionInfo | None:
    version = record.version
    if version is not None:
        return wire_algorithms.VersionInfo(
            git_hash=version.commit_sha,
            semantic_version=version.version,
            release_notes=version.release_notes,
            sample_input=version.sample_input,
            sample_output=version.sample_output,
        )
    return (
        None
        if record.build is None
        else wire_algorithms.VersionInfo(git_hash=record.build.commit_sha)
    )


def _compilation(record: BuildRecord | None) -> wire_algorithms.Compilation | None:
    if record is None:
        return None
    return wire_algorithms.Compilation(successful=record.succeeded, output=record.log_tail)


def _grants(records: Iterable[GrantRecord]) -> list[wire_flows.Grant]:
    return [wire_flows.Grant(algorithm=one.algorithm, api_type=one.api_type) for one in records]
