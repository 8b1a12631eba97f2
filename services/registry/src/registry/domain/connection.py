"""A connection to an external Kafka cluster. All of it may change but its id.

(none) ── CreateConnection ──▶ connected ── DeleteConnection ──▶ deleted
                              │  ▲      ▲
          ShredCredentials    │  │      └── UpdateConnection (again)
                              ▼  │
               without credentials ── UpdateConnection, with new ones
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from catalog.events import (
    ConnectionCreated,
    ConnectionCredentialsShredded,
    ConnectionDeleted,
    ConnectionUpdated,
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
class UpdateConnection:
    """Put these values in place of all that stand.

    `credentials` None: those that stand are kept. `lost_secret_id`: the vault does not hold this
    secret any more, so equal credentials in place of it are a change.
    """

    connection_id: str
    name: str
    bootstrap_servers: tuple[str, ...]
    security_protocol: SecurityProtocol
    sasl_mechanism: str = ""
    ca_certificate: str = ""
    credentials: SecretRef | None = None
    lost_secret_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShredCredentials:
    """Let every secret that the connection ever had be destroyed for good."""

    connection_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteConnection:
    """Cut the link; its flows are blocked from here on."""

    connection_id: str


Command: TypeAlias = CreateConnection | UpdateConnection | ShredCredentials | DeleteConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """State. `now` is what stands; `shreddings` counts how often its secrets were shredded, and
    `has_secrets` says whether it had any since."""

    created: ConnectionCreated
    now: ConnectionUpdated
    shreddings: int = 0
    has_secrets: bool = False
    deleted: bool = False


def decide(command: Command, state: Connection | None) -> Sequence[Event]:
    """Raises InvalidInput, TooLarge, NotFound, AlreadyExists, StateForbids."""
    match command:
        case CreateConnection():
            return _create(command, state)
        case UpdateConnection():
            return _update(command, state)
        case ShredCredentials():
            if not _known(state).has_secrets or _known(state).deleted:
                return []
            return [ConnectionCredentialsShredded(connection_id=command.connection_id)]
        case DeleteConnection():
            if _known(state).deleted:
                return []
            return [ConnectionDeleted(connection_id=command.connection_id)]
        case _:
            assert_never(command)


def evolve(state: Connection | None, event: Event) -> Connection | None:
    """The state after one more event."""
    match event:
        case ConnectionCreated():
            return Connection(
                created=event, now=_as_updated(event), has_secrets=event.credentials is not None
            )
        case ConnectionUpdated() if state:
            had = state.has_secrets or event.credentials is not None
            return replace(state, now=event, has_secrets=had)
        case ConnectionCredentialsShredded() if state:
            return replace(
                state,
                now=replace(state.now, credentials=None),
                shreddings=state.shreddings + 1,
                has_secrets=False,
            )
        case ConnectionDeleted() if state:
            return replace(state, deleted=True)
        case _:
            return state


def claims(state: Connection | None, events: Iterable[Event]) -> Claims:
    """The name that stands, until another one does or the connection is deleted."""
    before = after = claim.connection_name(state.now.name) if state and not state.deleted else ""
    for event in events:
        if isinstance(event, ConnectionCreated | ConnectionUpdated):
            after = claim.connection_name(event.name)
        elif isinstance(event, ConnectionDeleted):
            after = ""
    if before == after:
        return Claims()
    return Claims(added=(after,) if after else (), released=(before,) if before else ())


decider: Decider[Command, Connection | None, Event] = Decider(
    initial=None, decide=decide, evolve=evolve
)


def _create(command: CreateConnection, state: Connection | None) -> Sequence[Event]:
    wish = ConnectionCreated(
        connection_id=command.connection_id,
        name=command.name,
        bootstrap_servers=command.bootstrap_servers,
        security_protocol=command.security_protocol,
        sasl_mechanism=command.sasl_mechanism,
        ca_certificate=command.ca_certificate,
        credentials=command.credentials,
    )
    _check_values(wish)
    if state is None:
        return [wish]
    if state.deleted:
        raise StateForbids(
            "this connection was deleted for good: create one with a fresh connection_id"
        )
    if _same(state.created, wish):
        return []
    raise AlreadyExists("a connection with this connection_id exists: choose a fresh uuid")


def _update(command: UpdateConnection, state: Connection | None) -> Sequence[Event]:
    known = _known(state)
    if known.deleted:
        raise StateForbids(
            "this connection was deleted for good: create one with a fresh connection_id"
        )
    credentials = _credentials(command, known.now.credentials)
    wish = ConnectionUpdated(
        connection_id=command.connection_id,
        name=command.name,
        bootstrap_servers=command.bootstrap_servers,
        security_protocol=command.security_protocol,
        sasl_mechanism=command.sasl_mechanism,
        ca_certificate=command.ca_certificate,
        credentials=credentials,
    )
    _check_values(wish)
    return [] if wish == known.now else [wish]


def _credentials(command: UpdateConnection, standing: SecretRef | None) -> SecretRef | None:
    """What the connection has from now on; equal ones stay as they are, with their secret's id."""
    given = command.credentials
    if given is None:
        if command.security_protocol is SecurityProtocol.PLAINTEXT:
            return None
        if standing is None:
            raise StateForbids(
                "the connection has no credentials to keep: give username and password"
            )
        return standing
    if standing is None or standing.secret_id == command.lost_secret_id:
        return given
    return standing if standing.fingerprint == given.fingerprint else given


def _known(state: Connection | None) -> Connection:
    if state is None:
        raise NotFound("there is no connection with this connection_id")
    return state


def _as_updated(event: ConnectionCreated) -> ConnectionUpdated:
    return ConnectionUpdated(
        connection_id=event.connection_id,
        name=event.name,
        bootstrap_servers=event.bootstrap_servers,
        security_protocol=event.security_protocol,
        sasl_mechanism=event.sasl_mechanism,
        ca_certificate=event.ca_certificate,
        credentials=event.credentials,
    )


def _check_values(command: ConnectionCreated | ConnectionUpdated) -> None:
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
