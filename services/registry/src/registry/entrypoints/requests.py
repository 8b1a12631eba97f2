"""From protobuf requests to commands: a small function each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from catalog.events import (
    ApiType,
    BrokerKind,
    Channel,
    FlowCreated,
    FlowKind,
    Grant,
    SecretRef,
    SecurityProtocol,
)
from catalog.identifiers import topic_access_id
from eventflows.registry.v1 import registry_pb2 as pb
from google.protobuf.message import Message
from kernel.errors import InvalidInput
from servicekit.logs import hide

from registry.application import checks
from registry.application.certificates import certificates, client_key
from registry.application.credentials import CREDENTIALS_FIELD
from registry.application.vault_steps import NewSecret
from registry.domain import (
    account,
    aggregates,
    algorithm,
    connection,
    dead_letter_task,
    flow,
    topic_access,
    values,
)
from registry.domain.aggregates import Aggregate
from registry.entrypoints.copied import copied, enumeration

CREDENTIAL_LENGTH_MAX = 1024

Fingerprint = Callable[[str, bytes], bytes]
"""(stream id, secret) → fingerprint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a request asks for."""

    aggregate: Aggregate
    stream_id: str
    command: Any
    secret: NewSecret | None = None


def wanted(request: Message, *, fingerprint: Fingerprint) -> Wanted:
    """The command in a request. Raises InvalidInput, TooLarge."""
    return _MAPPINGS[type(request)](request, fingerprint)


def _account(kind: type[Any]) -> Callable[[Any, Fingerprint], Wanted]:
    def mapped(request: Any, _fingerprint: Fingerprint) -> Wanted:
        return Wanted(
            aggregate=aggregates.ACCOUNT,
            stream_id=values.uuid("account_id", request.account_id),
            command=copied(kind, request),
        )

    return mapped


def _create_algorithm(request: pb.CreateAlgorithmRequest, _fingerprint: Fingerprint) -> Wanted:
    command = copied(algorithm.CreateAlgorithm, request, owner_name="")
    return Wanted(
        aggregate=aggregates.ALGORITHM,
        stream_id=values.uuid("algorithm_id", request.algorithm_id),
        command=checks.create_algorithm(command),
    )


def _algorithm(kind: type[Any]) -> Callable[[Any, Fingerprint], Wanted]:
    def mapped(request: Any, _fingerprint: Fingerprint) -> Wanted:
        return Wanted(
            aggregate=aggregates.ALGORITHM,
            stream_id=values.uuid("algorithm_id", request.algorithm_id),
            command=copied(kind, request),
        )

    return mapped


def _create_connection(request: pb.CreateConnectionRequest, fingerprint: Fingerprint) -> Wanted:
    _check_credentials(request)
    return _connection(connection.CreateConnection, request, fingerprint)


def _update_connection(request: pb.UpdateConnectionRequest, fingerprint: Fingerprint) -> Wanted:
    if request.credentials.ByteSize():  # absent: those that stand are kept
        _check_credentials(request)
    return _connection(connection.UpdateConnection, request, fingerprint, lost_secret_id="")


def _check_credentials(request: pb.CreateConnectionRequest | pb.UpdateConnectionRequest) -> None:
    """They are all that the protocol and the client certificate need, and nothing else."""
    protocol = enumeration(SecurityProtocol, "security_protocol", request.security_protocol)
    given = request.credentials
    a_connection = connection.called(protocol)
    if protocol.has_sasl and not (given.username and given.password):
        raise InvalidInput(f"{a_connection} needs credentials: username and password")
    if not protocol.has_sasl and (given.username or given.password):
        raise InvalidInput(
            f"{a_connection} has no username and password: leave them out or choose SASL_SSL"
        )
    if bool(given.client_key) != bool(request.client_certificate):
        raise InvalidInput(
            "client_certificate and credentials.client_key go together: give both or neither"
        )


def _connection(
    kind: type[Any],
    request: pb.CreateConnectionRequest | pb.UpdateConnectionRequest,
    fingerprint: Fingerprint,
    **fields: str,
) -> Wanted:
    connection_id = values.uuid("connection_id", request.connection_id)
    if request.credentials.connection_string:
        raise InvalidInput(
            "credentials of a Kafka connection are username and password, or client_key"
        )
    if request.client_certificate:
        certificates("client_certificate", request.client_certificate)
    if request.credentials.client_key:
        client_key(request.credentials.client_key, certificate_pem=request.client_certificate)
    secret = _secret(request.credentials)
    command = copied(
        kind,
        request,
        ca_certificate=_ca_certificate(request.ca_certificate),
        credentials=_reference(secret, connection_id, fingerprint),
        **fields,
    )
    return Wanted(
        aggregate=aggregates.CONNECTION, stream_id=connection_id, command=command, secret=secret
    )


def _ca_certificate(pem: str) -> str:
    return certificates("ca_certificate", pem) if pem else ""


def _delete_connection(request: pb.DeleteConnectionRequest, _fingerprint: Fingerprint) -> Wanted:
    return Wanted(
        aggregate=aggregates.CONNECTION,
        stream_id=values.uuid("connection_id", request.connection_id),
        command=copied(connection.DeleteConnection, request),
    )


def _set_topic_access(request: pb.SetTopicAccessRequest, _fingerprint: Fingerprint) -> Wanted:
    values.uuid("connection_id", request.connection_id)
    values.topic("topic", request.topic)
    grants = tuple(
        Grant(
            algorithm_id=grant.algorithm_id,
            api_type=enumeration(ApiType, "api_type", grant.api_type),
        )
        for grant in request.grants
    )
    command = copied(topic_access.SetTopicAccess, request, grants=grants)
    return Wanted(
        aggregate=aggregates.TOPIC_ACCESS,
        stream_id=topic_access_id(connection_id=request.connection_id, topic=request.topic),
        command=checks.set_topic_access(command),
    )


def _enable_flow(request: pb.EnableFlowRequest, _fingerprint: Fingerprint) -> Wanted:
    flow_id = values.uuid("flow_id", request.flow_id)
    wire = FlowCreated(flow_id=flow_id, kind=FlowKind.UNSPECIFIED, owner_id="", algorithm_id="")
    return Wanted(
        aggregate=aggregates.FLOW,
        stream_id=flow_id,
        command=checks.enable_flow(flow_id, copied(flow.EnableFlow, request, wire=wire)),
    )


def _disable_flow(request: pb.DisableFlowRequest, _fingerprint: Fingerprint) -> Wanted:
    flow_id = values.uuid("flow_id", request.flow_id)
    return Wanted(
        aggregate=aggregates.FLOW, stream_id=flow_id, command=checks.disable_flow(flow_id)
    )


def _pause_flow(request: pb.PauseFlowRequest, _fingerprint: Fingerprint) -> Wanted:
    return _steered(request.flow_id, copied(flow.PauseFlow, request))


def _resume_flow(request: pb.ResumeFlowRequest, _fingerprint: Fingerprint) -> Wanted:
    return _steered(request.flow_id, copied(flow.ResumeFlow, request))


def _steered(flow_id: str, command: flow.PauseFlow | flow.ResumeFlow) -> Wanted:
    return Wanted(
        aggregate=aggregates.FLOW,
        stream_id=values.uuid("flow_id", flow_id),
        command=checks.steer_flow(command),
    )


def _request_redrive(request: pb.RequestRedriveRequest, _fingerprint: Fingerprint) -> Wanted:
    command = copied(dead_letter_task.RequestRedrive, request)
    return _dead_letter_task(request.dead_letter_task_id, checks.request_redrive(command))


def _request_purge(request: pb.RequestPurgeRequest, _fingerprint: Fingerprint) -> Wanted:
    command = copied(dead_letter_task.RequestPurge, request)
    return _dead_letter_task(request.dead_letter_task_id, checks.request_purge(command))


def _task(kind: type[Any]) -> Callable[[Any, Fingerprint], Wanted]:
    def mapped(request: Any, _fingerprint: Fingerprint) -> Wanted:
        return _dead_letter_task(request.dead_letter_task_id, copied(kind, request))

    return mapped


def _dead_letter_task(task_id: str, command: Any) -> Wanted:
    return Wanted(
        aggregate=aggregates.DEAD_LETTER_TASK,
        stream_id=values.uuid("dead_letter_task_id", task_id),
        command=command,
    )


def _create_listener(request: pb.CreateListenerRequest, fingerprint: Fingerprint) -> Wanted:
    flow_id = values.uuid("flow_id", request.flow_id)
    given = request.credentials
    if given.username or given.password or given.client_key:
        raise InvalidInput("credentials of a listener are a connection_string only")
    if given.connection_string and not given.connection_string.startswith("Endpoint="):
        raise InvalidInput("connection_string must start with Endpoint=sb://…")
    secret = _secret(given)
    channel = Channel(
        broker=enumeration(BrokerKind, "broker", request.broker),
        name=request.source_uri,
        role_arn=request.role_arn,
        credentials=_reference(secret, flow_id, fingerprint),
    )
    command = copied(flow.CreateListener, request, channel=channel)
    return Wanted(
        aggregate=aggregates.FLOW,
        stream_id=flow_id,
        command=checks.create_listener(command),
        secret=secret,
    )


def _delete_listener(request: pb.DeleteListenerRequest, _fingerprint: Fingerprint) -> Wanted:
    return Wanted(
        aggregate=aggregates.FLOW,
        stream_id=values.uuid("flow_id", request.flow_id),
        command=copied(flow.DeleteListener, request),
    )


def shred_secrets(request: pb.ShredSecretsRequest, aggregate: Aggregate) -> Wanted:
    """The command for the kind of thing that has the secrets. Raises InvalidInput."""
    stream_id = values.uuid("stream_id", request.stream_id)
    if aggregate is aggregates.CONNECTION:
        command: Any = connection.ShredCredentials(connection_id=stream_id)
    else:
        command = flow.ShredCredentials(flow_id=stream_id)
    return Wanted(aggregate=aggregate, stream_id=stream_id, command=command)


_MAPPINGS: Mapping[type[Message], Callable[[Any, Fingerprint], Wanted]] = {
    pb.CreateAccountRequest: _account(account.CreateAccount),
    pb.CreateApiKeyRequest: _account(account.CreateApiKey),
    pb.RevokeApiKeyRequest: _account(account.RevokeApiKey),
    pb.CreateAlgorithmRequest: _create_algorithm,
    pb.FinishBuildRequest: _algorithm(algorithm.FinishBuild),
    pb.PublishVersionRequest: _algorithm(algorithm.PublishVersion),
    pb.CreateConnectionRequest: _create_connection,
    pb.UpdateConnectionRequest: _update_connection,
    pb.DeleteConnectionRequest: _delete_connection,
    pb.SetTopicAccessRequest: _set_topic_access,
    pb.EnableFlowRequest: _enable_flow,
    pb.DisableFlowRequest: _disable_flow,
    pb.PauseFlowRequest: _pause_flow,
    pb.ResumeFlowRequest: _resume_flow,
    pb.RequestRedriveRequest: _request_redrive,
    pb.RequestPurgeRequest: _request_purge,
    pb.CancelDeadLetterTaskRequest: _task(dead_letter_task.CancelTask),
    pb.FinishDeadLetterTaskRequest: _task(dead_letter_task.FinishTask),
    pb.CreateListenerRequest: _create_listener,
    pb.DeleteListenerRequest: _delete_listener,
}


def _secret(given: pb.Credential) -> NewSecret | None:
    """A secret of these credentials, under a fresh random id; None when nothing is given."""
    for name in ("username", "password", "connection_string"):
        values.line(f"credentials.{name}", getattr(given, name), length_max=CREDENTIAL_LENGTH_MAX)
    plain = given.SerializeToString(deterministic=True)
    if not plain:
        return None
    for secret in (given.password, given.connection_string, given.client_key):
        hide(secret)
    return NewSecret(secret_id=str(uuid4()), field=CREDENTIALS_FIELD, plain=plain)


def _reference(
    secret: NewSecret | None, stream_id: str, fingerprint: Fingerprint
) -> SecretRef | None:
    if secret is None:
        return None
    return SecretRef(secret_id=secret.secret_id, fingerprint=fingerprint(stream_id, secret.plain))
