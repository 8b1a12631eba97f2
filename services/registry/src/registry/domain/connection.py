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
CERTIFICATE_LENGTH_MAX = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateConnection:
    """Link a cluster. Credentials are in the vault; the caller has parsed the certificates and has
    seen that the credentials are those which this protocol and this client certificate need."""

    connection_id: str
    name: str
    bootstrap_servers: tuple[str, ...]
    security_protocol: SecurityProtocol
    sasl_mechanism: str = ""
    ca_certificate: str = ""
    credentials: SecretRef | None = None
    client_certificate: str = ""
    group_prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateConnection:
    """Put these values in place of all that stand.

    `credentials` None: those that stand are kept, if they are what the new values need.
    `lost_secret_id`: the vault does not hold this secret any more, so equal credentials in place of
    it are a change.
    """

    connection_id: str
    name: str
    bootstrap_servers: tuple[str, ...]
    security_protocol: SecurityProtocol
    sasl_mechanism: str = ""
    ca_certificate: str = ""
    credentials: SecretRef | None = None
    client_certificate: str = ""
    group_prefix: str = ""
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
        client_certificate=command.client_certificate,
        group_prefix=command.group_prefix,
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
    wish = ConnectionUpdated(
        connection_id=command.connection_id,
        name=command.name,
        bootstrap_servers=command.bootstrap_servers,
        security_protocol=command.security_protocol,
        sasl_mechanism=command.sasl_mechanism,
        ca_certificate=command.ca_certificate,
        credentials=_credentials(command, known.now),
        client_certificate=command.client_certificate,
        group_prefix=command.group_prefix,
    )
    _check_values(wish)
    return [] if wish == known.now else [wish]


def _credentials(command: UpdateConnection, now: ConnectionUpdated) -> SecretRef | None:
    """What the connection has from now on; equal ones stay as they are, with their secret's id."""
    given, standing = command.credentials, now.credentials
    if given is None:
        return _kept(command, now)
    if standing is None or standing.secret_id == command.lost_secret_id:
        return given
    return standing if standing.fingerprint == given.fingerprint else given


def _kept(command: UpdateConnection, now: ConnectionUpdated) -> SecretRef | None:
    """What stands, if it has all that the new values need; None where they need nothing."""
    has_sasl = command.security_protocol.has_sasl
    if not has_sasl and not command.client_certificate:
        return None
    if now.credentials is None:
        what = "username and password" if has_sasl else "client_key"
        raise StateForbids(f"the connection has no credentials to keep: give {what}")
    if has_sasl and not now.security_protocol.has_sasl:
        raise StateForbids("the credentials that stand have no username and password: give them")
    if command.client_certificate not in ("", now.client_certificate):
        raise StateForbids(
            "a client_certificate goes with its key: give client_key too, and with SASL username "
            "and password"
        )
    return now.credentials


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
        client_certificate=event.client_certificate,
        group_prefix=event.group_prefix,
    )


def _check_values(command: ConnectionCreated | ConnectionUpdated) -> None:
    values.uuid("connection_id", command.connection_id)
    values.line("name", command.name, length_max=values.CONNECTION_NAME_LENGTH_MAX, required=True)
    values.bootstrap_servers(command.bootstrap_servers)
    values.chosen("security_protocol", command.security_protocol)
    values.group_prefix(command.group_prefix)
    for field in ("ca_certificate", "client_certificate"):
        values.text(field, getattr(command, field), length_max=CERTIFICATE_LENGTH_MAX)
    _check_security(command)


def _check_security(command: ConnectionCreated | ConnectionUpdated) -> None:
    protocol = command.security_protocol
    a_connection = called(protocol)
    if not protocol.has_tls and (command.ca_certificate or command.client_certificate):
        raise InvalidInput(
            f"{a_connection} has no ca_certificate or client_certificate, since it is not "
            "encrypted: leave them out or choose SASL_SSL or SSL"
        )
    if not protocol.has_sasl and command.sasl_mechanism:
        raise InvalidInput(f"{a_connection} has no sasl_mechanism: leave it out or choose SASL_SSL")
    if protocol.has_sasl and command.sasl_mechanism not in SASL_MECHANISMS:
        raise InvalidInput(f"sasl_mechanism must be one of {', '.join(SASL_MECHANISMS)}")
    needs = "username and password" if protocol.has_sasl else "client_key"
    wants_credentials = needs_credentials(protocol, command.client_certificate)
    if wants_credentials and command.credentials is None:
        raise InvalidInput(f"{a_connection} needs credentials: {needs}")
    if not wants_credentials and command.credentials is not None:
        raise InvalidInput(
            f"{a_connection} without a client_certificate has no credentials: leave them out or "
            "choose SASL_SSL"
        )


def called(protocol: SecurityProtocol) -> str:
    """Such a connection in the middle of a sentence."""
    article = "an" if protocol is SecurityProtocol.SSL else "a"
    return f"{article} {protocol.name} connection"


def needs_credentials(protocol: SecurityProtocol, client_certificate: str) -> bool:
    """Does such a connection have anything secret?"""
    return protocol.has_sasl or bool(client_certificate)


def _same(known: ConnectionCreated, wish: ConnectionCreated) -> bool:
    """Equal but for the secret's id, which is new with every request."""
    if known.credentials is None or wish.credentials is None:
        return known == wish
    return known == replace(
        wish, credentials=replace(wish.credentials, secret_id=known.credentials.secret_id)
    )
