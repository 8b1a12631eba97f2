"""A connection to an external Kafka cluster. It is never edited: delete it and create another.

(none) ── CreateConnection ──▶ connected ── DeleteConnection ──▶ deleted
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from catalog.events import (
    ConnectionCreated,
    ConnectionDeleted,
    Event,
    SecretRef,
    SecurityProtocol,
)
from kernel.decider import Decider
from kernel.errors import AlreadyExists, InvalidInput, NotFound, StateForbids

from registry.domain import claim, values
from registry.domain.claim import Claims

SASL_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN")
CA_CERTIFICATE_LENGTH_MAX = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateConnection:
    """Link a cluster. Credentials are in the vault; `ca_certificate` was parsed by the caller."""

    connection_id: str
    name: str
    bootstrap_servers: tuple[str, ...]
    security_protocol: SecurityProtocol
    sasl_mechanism: str = ""
    ca_certificate: str = ""
    credentials: SecretRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteConnection:
    """Cut the link; its flows are blocked from here on."""

    connection_id: str


Command: TypeAlias = CreateConnection | DeleteConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """State."""

    created: ConnectionCreated
    deleted: bool = False


def decide(command: Command, state: Connection | None) -> Sequence[Event]:
    """Raises InvalidInput, TooLarge, NotFound, AlreadyExists, StateForbids."""
    match command:
        case CreateConnection():
            return _create(command, state)
        case DeleteConnection():
            if state is None:
                raise NotFound("there is no connection with this connection_id")
            if state.deleted:
                return []
            return [ConnectionDeleted(connection_id=command.connection_id)]
        case _:
            assert_never(command)


def evolve(state: Connection | None, event: Event) -> Connection | None:
    """The state after one more event."""
    match event:
        case ConnectionCreated():
            return Connection(created=event)
        case ConnectionDeleted() if state:
            return replace(state, deleted=True)
        case _:
            return state


def claims(state: Connection | None, events: Iterable[Event]) -> Claims:
    """The name, from creation until deletion."""
    added: list[str] = []
    released: list[str] = []
    for event in events:
        if isinstance(event, ConnectionCreated):
            added.append(claim.connection_name(event.name))
        elif isinstance(event, ConnectionDeleted) and state:
            released.append(claim.connection_name(state.created.name))
    return Claims(added=tuple(added), released=tuple(released))


decider: Decider[Command, Connection | None, Event] = Decider(
    initial=None, decide=decide, evolve=evolve
)


def _create(command: CreateConnection, state: Connection | None) -> Sequence[Event]:
    _check_creation(command)
    wish = ConnectionCreated(
        connection_id=command.connection_id,
        name=command.name,
        bootstrap_servers=command.bootstrap_servers,
        security_protocol=command.security_protocol,
        sasl_mechanism=command.sasl_mechanism,
        ca_certificate=command.ca_certificate,
        credentials=command.credentials,
    )
    if state is None:
        return [wish]
    if state.deleted:
        raise StateForbids(
            "this connection was deleted for good: create one with a fresh connection_id"
        )
    if _same(state.created, wish):
        return []
    raise AlreadyExists("a connection with this connection_id exists: choose a fresh uuid")


def _check_creation(command: CreateConnection) -> None:
    values.uuid("connection_id", command.connection_id)
    values.line("name", command.name, length_max=values.CONNECTION_NAME_LENGTH_MAX, required=True)
    values.bootstrap_servers(command.bootstrap_servers)
    values.chosen("security_protocol", command.security_protocol)
    values.text("ca_certificate", command.ca_certificate, length_max=CA_CERTIFICATE_LENGTH_MAX)
    if command.security_protocol is SecurityProtocol.PLAINTEXT:
        if command.sasl_mechanism or command.ca_certificate or command.credentials:
            raise InvalidInput(
                "a PLAINTEXT connection has no sasl_mechanism, ca_certificate or credentials: "
                "leave them out or choose SASL_SSL"
            )
        return
    if command.sasl_mechanism not in SASL_MECHANISMS:
        raise InvalidInput(f"sasl_mechanism must be one of {', '.join(SASL_MECHANISMS)}")
    if command.credentials is None:
        raise InvalidInput("a SASL_SSL connection needs credentials: username and password")


def _same(known: ConnectionCreated, wish: ConnectionCreated) -> bool:
    """Equal but for the secret's id, which is new with every request."""
    if known.credentials is None or wish.credentials is None:
        return known == wish
    return known == replace(
        wish, credentials=replace(wish.credentials, secret_id=known.credentials.secret_id)
    )
