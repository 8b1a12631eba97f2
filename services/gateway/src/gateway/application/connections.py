"""Broker connections: an admin's links to external Kafka clusters (algorithmia-api 1.4.1, 1.4.2).

Credentials go in and never come out: an answer says that there are some, and their fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from catalog.catalog import Catalog
from catalog.events import SecretRef, SecurityProtocol
from catalog.records import Connection
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2
from kernel.errors import NotFound
from servicekit.logs import hide

from gateway.application.gateway import Gateway
from gateway.domain.brokers import (
    CONNECTION_TYPE_NAMES,
    SASL_MECHANISM_DEFAULT,
    WITH_SASL,
    BrokerConnection,
    bootstrap_servers,
    security_protocol,
)
from gateway.domain.caller import Admin
from gateway.domain.fields import is_uuid
from gateway.domain.intent import Intent
from gateway.domain.paging import Page, PageRequest, paginate


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRecord:
    """A connection as it is shown. `fingerprint` of the credentials is hex, None when unknown."""

    id: str
    name: str
    broker_url: str
    connection_type: str
    sasl_mechanism: str | None
    ca_certificate: str | None
    client_certificate: str | None
    group_prefix: str
    has_credentials: bool
    fingerprint: str | None
    created_at: datetime | None
    stream_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionTest:
    """What came of an attempt to connect. `problem` says which step failed, empty when none did."""

    connected: bool
    problem: str
    brokers: int
    topics: int
    duration_s: float


async def create_connection(
    gateway: Gateway, caller: Admin, asked: BrokerConnection, intent: Intent
) -> ConnectionRecord:
    """Create a connection; its broker is not asked yet.

    Raises InvalidInput, AlreadyExists, VersionConflict.
    """
    _hide(asked)
    command = registry_pb2.CreateConnectionRequest(connection_id=intent.new_id("connection"))
    _describe(command, asked, security_protocol(asked))
    return _answered(gateway, command, await gateway.send(command, caller, intent))


async def update_connection(
    gateway: Gateway, caller: Admin, connection_id: str, asked: BrokerConnection, intent: Intent
) -> ConnectionRecord:
    """Replace everything of a connection but its id; without credentials the old ones are kept.

    Raises NotFound, InvalidInput, AlreadyExists (its name), StateForbids, VersionConflict.
    """
    _hide(asked)
    known = connection_of(gateway.catalog, connection_id)
    command = registry_pb2.UpdateConnectionRequest(connection_id=known.connection_id)
    protocol = security_protocol(
        asked, credentials_stay=True, known_certificate=known.client_certificate
    )
    _describe(command, asked, protocol)
    return _answered(gateway, command, await gateway.send(command, caller, intent))


async def shred_credentials(
    gateway: Gateway, caller: Admin, connection_id: str, intent: Intent
) -> int:
    """Destroy a connection's credentials for good; its flows are blocked from here on.

    Returns the version of its stream. Raises NotFound, StateForbids, VersionConflict.
    """
    known = connection_of(gateway.catalog, connection_id)
    command = registry_pb2.ShredSecretsRequest(stream_id=known.connection_id)
    return (await gateway.send(command, caller, intent)).version


def get_connection(gateway: Gateway, _caller: Admin, connection_id: str) -> ConnectionRecord:
    """A connection. Raises NotFound."""
    return _record(connection_of(gateway.catalog, connection_id))


def list_connections(gateway: Gateway, _caller: Admin, page: PageRequest) -> Page[ConnectionRecord]:
    """All connections by name. Raises InvalidInput (5002)."""
    found = paginate(
        gateway.catalog.connections(), page, key=lambda c: (c.name.lower(), c.connection_id)
    )
    return Page(items=tuple(map(_record, found.items)), marker=found.marker)


async def delete_connection(
    gateway: Gateway, caller: Admin, connection_id: str, intent: Intent
) -> None:
    """Delete a connection: its flows are blocked from here on. Raises NotFound, VersionConflict."""
    command = registry_pb2.DeleteConnectionRequest(connection_id=connection_id.lower())
    if gateway.catalog.connection(command.connection_id) is None:
        if is_uuid(connection_id) and await gateway.did_before(command, caller, intent):
            return
        raise _no_such_connection()
    await gateway.send(command, caller, intent)


async def try_connection(gateway: Gateway, _caller: Admin, connection_id: str) -> ConnectionTest:
    """Let the router try it. A broker that refuses is an answer. Raises NotFound, Unavailable."""
    known = connection_of(gateway.catalog, connection_id)
    tested = await gateway.router.test_connection(known.connection_id)
    return ConnectionTest(
        connected=tested.connected,
        problem=tested.problem,
        brokers=tested.brokers,
        topics=tested.topics,
        duration_s=tested.duration_s,
    )


def connection_of(catalog: Catalog, connection_id: str) -> Connection:
    """The connection of this id. Raises NotFound."""
    known = catalog.connection(connection_id.lower())
    if known is None:
        raise _no_such_connection()
    return known


def _no_such_connection() -> NotFound:
    return NotFound(
        "there is no broker connection of this id: GET /v1/admin/broker-connections lists them"
    )


Description: TypeAlias = registry_pb2.CreateConnectionRequest | registry_pb2.UpdateConnectionRequest


def _describe(command: Description, asked: BrokerConnection, protocol: SecurityProtocol) -> None:
    command.name = asked.name
    command.bootstrap_servers.extend(bootstrap_servers(asked.broker_url))
    command.security_protocol = events_pb2.SecurityProtocol.Value(
        f"SECURITY_PROTOCOL_{protocol.name}"
    )
    command.ca_certificate = asked.ca_certificate
    command.client_certificate = asked.client_certificate
    command.group_prefix = asked.group_prefix
    if protocol in WITH_SASL:
        command.sasl_mechanism = asked.sasl_mechanism or SASL_MECHANISM_DEFAULT
    if asked.brings_credentials:
        command.credentials.username = asked.broker_username
        command.credentials.password = asked.broker_password
        command.credentials.client_key = asked.client_key


def _hide(asked: BrokerConnection) -> None:
    hide(asked.broker_password)
    hide(asked.client_key)


def _answered(
    gateway: Gateway, command: Description, result: registry_pb2.CommandResult
) -> ConnectionRecord:
    """As the catalog has it, or as it will once it has caught up."""
    known = gateway.catalog.connection(command.connection_id)
    if known is not None and known.stream_version >= result.version:
        return _record(known)
    return ConnectionRecord(
        id=command.connection_id,
        name=command.name,
        broker_url=",".join(command.bootstrap_servers),
        connection_type=CONNECTION_TYPE_NAMES[SecurityProtocol(command.security_protocol)],
        sasl_mechanism=command.sasl_mechanism or None,
        ca_certificate=command.ca_certificate or None,
        client_certificate=command.client_certificate or None,
        group_prefix=command.group_prefix,
        has_credentials=bool(command.sasl_mechanism or command.client_certificate),
        fingerprint=None,
        created_at=known.created_time if known is not None else None,
        stream_version=result.version,
    )


def _record(connection: Connection) -> ConnectionRecord:
    return ConnectionRecord(
        id=connection.connection_id,
        name=connection.name,
        broker_url=",".join(connection.bootstrap_servers),
        connection_type=CONNECTION_TYPE_NAMES[connection.security_protocol],
        sasl_mechanism=connection.sasl_mechanism or None,
        ca_certificate=connection.ca_certificate or None,
        client_certificate=connection.client_certificate or None,
        group_prefix=connection.group_prefix,
        has_credentials=connection.credentials is not None,
        fingerprint=_fingerprint(connection.credentials),
        created_at=connection.created_time,
        stream_version=connection.stream_version,
    )


def _fingerprint(credentials: SecretRef | None) -> str | None:
    return None if credentials is None else credentials.fingerprint.hex()
