"""One sample of each event kind that this build writes, every field set to something of its own.

A golden file is made from the sample of its kind once and then kept for ever; a sample may get a
new field later, its file may not: GROWN then names what came, and the kind gets one file more.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from catalog import codec, events
from catalog.events import Event
from google.protobuf.json_format import MessageToDict

EVENTS = Path(__file__).parent / "events"

_ACCOUNT = "0d1f3a55-6b0c-4a52-9a7e-0c1d2e3f4a5b"
_ALGORITHM = "8c1c8e0f-5c0b-4c56-9d3e-6a4a4d0a7f11"
_CONNECTION = "3b9d4f43-0b9e-4b1f-8e1f-0d6b8f3f2a10"
_FLOW = "b7f5a1de-4f0a-5c8e-8c39-2f6f6f1e9d77"
_TASK = "a5d1c3f7-2b4e-4c6d-8e9f-102132435465"
_BUILD = "5e2c7a90-1b3d-4f56-8a9b-cdef01234567"
_COMMIT = "9b74c9897bac770ffc029102a200c5de7a1c2b3d"
_SECRET = events.SecretRef(
    secret_id="f0e1d2c3-b4a5-4697-8877-665544332211",
    fingerprint=bytes(range(8)),
)

SAMPLES: tuple[Event, ...] = (
    events.AccountCreated(
        account_id=_ACCOUNT,
        kind=events.AccountKind.ORGANIZATION,
        username="acme",
        email="ops@acme.example",
        fullname="Acme Incorporated",
        company_name="Acme",
        company_role="platform",
    ),
    events.ApiKeyCreated(
        account_id=_ACCOUNT,
        key_id="11111111-2222-4333-8444-555555555555",
        label="default-key",
        key_type=events.KeyType.STANDARD,
        key_sha256=bytes(range(32)),
        mask="sim12…9Zq",
    ),
    events.ApiKeyRevoked(account_id=_ACCOUNT, key_id="11111111-2222-4333-8444-555555555555"),
    events.AlgorithmCreated(
        algorithm_id=_ALGORITHM,
        owner_id=_ACCOUNT,
        owner_name="acme",
        name="digits",
        label="Digits",
        summary="Reads handwritten digits.",
        tagline="Eight by eight pixels, one answer",
        source_kind=events.SourceKind.GIT,
        source_url="https://git.example/acme/digits.git",
        source_visibility="closed",
        license="apl",
        network_access="isolated",
        pipeline_enabled=True,
        algorithm_environment="python-3.11",
    ),
    events.BuildFinished(
        algorithm_id=_ALGORITHM,
        build_id=_BUILD,
        commit_sha=_COMMIT,
        succeeded=True,
        log_tail="Beginning container customization\nInstalled 7 packages – fertig\n",
        started_at=datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC),
        finished_at=datetime(2026, 11, 23, 12, 1, 2, tzinfo=UTC),
    ),
    events.VersionPublished(
        algorithm_id=_ALGORITHM,
        version="1.2.3",
        build_id=_BUILD,
        commit_sha=_COMMIT,
        callability=events.Callability.PUBLIC,
        release_notes="Faster.",
        sample_input='{"pixels": [0, 1]}',
        sample_output='{"digit": 7}',
    ),
    events.ConnectionCreated(
        connection_id=_CONNECTION,
        name="plant",
        bootstrap_servers=("kafka-1.plant.example:9093", "kafka-2.plant.example:9093"),
        security_protocol=events.SecurityProtocol.SASL_SSL,
        sasl_mechanism="SCRAM-SHA-512",
        ca_certificate="-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        credentials=_SECRET,
        client_certificate="-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----\n",
        group_prefix="acme.",
    ),
    events.ConnectionDeleted(connection_id=_CONNECTION),
    events.ConnectionUpdated(
        connection_id=_CONNECTION,
        name="plant two",
        bootstrap_servers=("kafka-3.plant.example:9093",),
        security_protocol=events.SecurityProtocol.SASL_SSL,
        sasl_mechanism="SCRAM-SHA-256",
        ca_certificate="-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n",
        credentials=_SECRET,
        client_certificate="-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n",
        group_prefix="acme-two.",
    ),
    events.ConnectionCredentialsShredded(connection_id=_CONNECTION),
    events.TopicAccessSet(
        topic_access_id="e3c1f9a2-7d54-5b1e-9f00-1a2b3c4d5e6f",
        connection_id=_CONNECTION,
        topic="images",
        grants=(
            events.Grant(algorithm_id=_ALGORITHM, api_type=events.ApiType.SUBSCRIBER),
            events.Grant(algorithm_id=_ALGORITHM, api_type=events.ApiType.DEAD_LETTER),
        ),
    ),
    events.FlowCreated(
        flow_id=_FLOW,
        kind=events.FlowKind.SUBSCRIBER,
        owner_id=_ACCOUNT,
        algorithm_id=_ALGORITHM,
        channel=events.Channel(
            broker=events.BrokerKind.SERVICE_BUS,
            connection_id=_CONNECTION,
            name="sb://acme.example/images",
            role_arn="arn:aws:iam::123456789012:role/reader",
            credentials=_SECRET,
        ),
        target_algorithm_id="c0ffee00-0000-4000-8000-000000000001",
    ),
    events.FlowEnabled(
        flow_id=_FLOW,
        algorithm_version="1.2.3",
        dead_letter_topic="images.failed",
        concurrency_max=16,
        allow_cycle=True,
        timeout_s=420,
        delivery=events.DeliverySettings(
            order=events.DeliveryOrder.PARTITION,
            parallelism=4,
            start=events.StartAt.LATEST,
            read_committed=True,
            retries=(
                events.RetryRule(
                    failure=events.FailureClass.ALGORITHM_ERROR,
                    error_type="UnknownDigit",
                    attempts_max=5,
                    age_max_s=600,
                    delay_first_ms=250,
                    delay_longest_ms=30_000,
                    factor=1.5,
                    give_up=events.GiveUp.HALT_KEY,
                ),
                events.RetryRule(give_up=events.GiveUp.HALT_FLOW),
            ),
        ),
    ),
    events.FlowDisabled(flow_id=_FLOW),
    events.FlowDeleted(flow_id=_FLOW),
    events.FlowCredentialsShredded(flow_id=_FLOW),
    events.FlowPaused(flow_id=_FLOW, drain=True, reason="the line is being rebuilt"),
    events.FlowResumed(flow_id=_FLOW),
    events.RedriveRequested(
        dead_letter_task_id=_TASK,
        flow_id=_FLOW,
        selection=events.DeadLetterSelection(
            since=datetime(2026, 11, 23, 12, 0, tzinfo=UTC),
            until=datetime(2026, 11, 24, 12, 0, tzinfo=UTC),
            failure=events.FailureClass.TIMED_OUT,
            error_type="UnknownDigit",
            record_key=b"line 7",
            topic="images",
            partitions=(0, 3),
            offset_first=100,
            offset_last=200,
            letter_ids=("2-17", "2-19"),
        ),
        algorithm_version="1.2.4",
        rate_per_s=12.5,
        own_topic=True,
    ),
    events.PurgeRequested(
        dead_letter_task_id=_TASK,
        flow_id=_FLOW,
        selection=events.DeadLetterSelection(failure=events.FailureClass.REFUSED),
    ),
    events.DeadLetterTaskCancelled(dead_letter_task_id=_TASK),
    events.DeadLetterTaskFinished(
        dead_letter_task_id=_TASK, succeeded=41, failed=1, problem="the flow was deleted"
    ),
)

GROWN = {
    "connection.created.v1": ("client_certificate",),
    "connection.updated.v1": ("client_certificate",),
    "flow.enabled.v1": ("delivery",),
    "dead_letter_task.redrive_requested.v1": ("own_topic",),
}
"""What came to the sample of a kind after its first golden file, each with a file of its own."""


def golden_names(event: Event) -> list[str]:
    """The golden files of an event's kind, oldest first: `flow.enabled.v1`,
    `flow.enabled.v1+delivery`."""
    name = codec.stored_name(event)
    return [name, *(f"{name}+{what}" for what in GROWN.get(name, ()))]


def golden_path(name: str, suffix: str) -> Path:
    """`events/<name><suffix>`; suffix `.bin` (as stored) or `.json` (as people read it)."""
    return EVENTS / f"{name}{suffix}"


def as_json(event: Event) -> dict[str, Any]:
    """The event as JSON with protobuf's own field names; every field is there, set or not."""
    return MessageToDict(
        codec.to_message(event),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def json_text(event: Event) -> str:
    """What a golden `.json` holds."""
    return json.dumps(as_json(event), indent=2, ensure_ascii=False) + "\n"
