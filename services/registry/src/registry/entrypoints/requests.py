"""From protobuf requests to commands: a small function each, one generic copy by field name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import IntEnum
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints
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
from registry.application.certificates import ca_certificates
from registry.application.credentials import CREDENTIALS_FIELD
from registry.application.vault_steps import NewSecret
from registry.domain import account, aggregates, algorithm, connection, flow, topic_access, values
from registry.domain.aggregates import Aggregate

CREDENTIAL_LENGTH_MAX = 1024

Fingerprint = Callable[[str, bytes], bytes]
"""(stream id, secret) → fingerprint."""
T = TypeVar("T")


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
            command=_copied(kind, request),
        )

    return mapped


def _create_algorithm(request: pb.CreateAlgorithmRequest, _fingerprint: Fingerprint) -> Wanted:
    command = _copied(algorithm.CreateAlgorithm, request, owner_name="")
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
            command=_copied(kind, request),
        )

    return mapped


def _create_connection(request: pb.CreateConnectionRequest, fingerprint: Fingerprint) -> Wanted:
    protocol = _enum(SecurityProtocol, "security_protocol", request.security_protocol)
    given = request.credentials
    if protocol is SecurityProtocol.SASL_SSL and not (given.username and given.password):
        raise InvalidInput("a SASL_SSL connection needs credentials: username and password")
    return _connection(connection.CreateConnection, request, fingerprint)


def _update_connection(request: pb.UpdateConnectionRequest, fingerprint: Fingerprint) -> Wanted:
    given = request.credentials
    if bool(given.username) != bool(given.password):
        raise InvalidInput(
            "credentials are username and password together; leave both out to keep those that "
            "stand"
        )
    return _connection(connection.UpdateConnection, request, fingerprint, lost_secret_id="")


def _connection(
    kind: type[Any],
    request: pb.CreateConnectionRequest | pb.UpdateConnectionRequest,
    fingerprint: Fingerprint,
    **fields: str,
) -> Wanted:
    connection_id = values.uuid("connection_id", request.connection_id)
    if request.credentials.connection_string:
        raise InvalidInput("credentials of a Kafka connection are username and password")
    secret = _secret(request.credentials)
    command = _copied(
        kind,
        request,
        ca_certificate=ca_certificates(request.ca_certificate) if request.ca_certificate else "",
        credentials=_reference(secret, connection_id, fingerprint),
        **fields,
    )
    return Wanted(
        aggregate=aggregates.CONNECTION, stream_id=connection_id, command=command, secret=secret
    )


def _delete_connection(request: pb.DeleteConnectionRequest, _fingerprint: Fingerprint) -> Wanted:
    return Wanted(
        aggregate=aggregates.CONNECTION,
        stream_id=values.uuid("connection_id", request.connection_id),
        command=_copied(connection.DeleteConnection, request),
    )


def _set_topic_access(request: pb.SetTopicAccessRequest, _fingerprint: Fingerprint) -> Wanted:
    values.uuid("connection_id", request.connection_id)
    values.topic("topic", request.topic)
    grants = tuple(
        Grant(algorithm_id=grant.algorithm_id, api_type=_enum(ApiType, "api_type", grant.api_type))
        for grant in request.grants
    )
    command = _copied(topic_access.SetTopicAccess, request, grants=grants)
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
        command=checks.enable_flow(flow_id, _copied(flow.EnableFlow, request, wire=wire)),
    )


def _disable_flow(request: pb.DisableFlowRequest, _fingerprint: Fingerprint) -> Wanted:
    flow_id = values.uuid("flow_id", request.flow_id)
    return Wanted(
        aggregate=aggregates.FLOW, stream_id=flow_id, command=checks.disable_flow(flow_id)
    )


def _create_listener(request: pb.CreateListenerRequest, fingerprint: Fingerprint) -> Wanted:
    flow_id = values.uuid("flow_id", request.flow_id)
    given = request.credentials
    if given.username or given.password:
        raise InvalidInput("credentials of a listener are a connection_string only")
    if given.connection_string and not given.connection_string.startswith("Endpoint="):
        raise InvalidInput("connection_string must start with Endpoint=sb://…")
    secret = _secret(given)
    channel = Channel(
        broker=_enum(BrokerKind, "broker", request.broker),
        name=request.source_uri,
        role_arn=request.role_arn,
        credentials=_reference(secret, flow_id, fingerprint),
    )
    command = _copied(flow.CreateListener, request, channel=channel)
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
        command=_copied(flow.DeleteListener, request),
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
    hide(given.password)
    hide(given.connection_string)
    return NewSecret(secret_id=str(uuid4()), field=CREDENTIALS_FIELD, plain=plain)


def _reference(
    secret: NewSecret | None, stream_id: str, fingerprint: Fingerprint
) -> SecretRef | None:
    if secret is None:
        return None
    return SecretRef(secret_id=secret.secret_id, fingerprint=fingerprint(stream_id, secret.plain))


def _copied(kind: type[T], message: Message, **given: Any) -> T:
    """The record `kind` with the message's fields of the same names, but for those given."""
    hints = _hints(cast(Any, kind))
    copied = {name: _value(name, hint, message) for name, hint in hints if name not in given}
    return kind(**copied, **given)


@cache
def _hints(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(kind))


def _value(name: str, hint: Any, message: Message) -> Any:
    value = getattr(message, name)
    if get_origin(hint) is tuple and get_args(hint)[0] is str:
        return tuple(value)
    if hint is datetime:
        return _time(name, message)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return _enum(hint, name, value)
    return value


E = TypeVar("E", bound=IntEnum)


def _enum(kind: type[E], name: str, value: int) -> E:
    try:
        return kind(value)
    except ValueError as error:
        raise InvalidInput(f"{name} has a value that this registry does not know") from error


def _time(name: str, message: Message) -> datetime:
    if not message.HasField(name):
        raise InvalidInput(f"{name} must be given")
    try:
        time: datetime = getattr(message, name).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{name} must be a time") from error
    return time
