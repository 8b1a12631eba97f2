"""An admin's description of an external Kafka cluster, in the words of the REST API.

Field names and words are those of Algorithmia's Insights connection (algorithmia-api 1.4.1), the
only public wire shape of a Kafka connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from catalog.events import SecurityProtocol
from kernel.errors import InvalidInput

from gateway.domain import fields

CREDENTIAL_CHARACTERS_MAX = 1_000
SASL_MECHANISM_DEFAULT = "SCRAM-SHA-256"
CLIENT_KEY_CHARACTERS_MAX = 16 * 1024
CONNECTION_TYPES = {
    "kafka_sasl_ssl": SecurityProtocol.SASL_SSL,
    "kafka_sasl_plaintext": SecurityProtocol.SASL_PLAINTEXT,
    "kafka_ssl": SecurityProtocol.SSL,
    "kafka_unauthenticated_plaintext": SecurityProtocol.PLAINTEXT,
}
CONNECTION_TYPE_NAMES = {protocol: name for name, protocol in CONNECTION_TYPES.items()}
WITH_SASL = (SecurityProtocol.SASL_SSL, SecurityProtocol.SASL_PLAINTEXT)
WITH_TLS = (SecurityProtocol.SASL_SSL, SecurityProtocol.SSL)
_SASL_ONLY = ("broker_username", "broker_password", "sasl_mechanism")
_TLS_ONLY = ("ca_certificate", "client_certificate", "client_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConnection:
    """What an admin sends. The credentials show themselves nowhere."""

    name: str
    broker_url: str
    connection_type: str
    broker_username: str = field(default="", repr=False)
    broker_password: str = field(default="", repr=False)
    ca_certificate: str = ""
    sasl_mechanism: str = ""
    client_certificate: str = ""
    client_key: str = field(default="", repr=False)
    group_prefix: str = ""

    @property
    def brings_credentials(self) -> bool:
        """Is any of user name, password and client key given? All of them are one secret."""
        return bool(self.broker_username or self.broker_password or self.client_key)


def security_protocol(
    asked: BrokerConnection, *, credentials_stay: bool = False, known_certificate: str = ""
) -> SecurityProtocol:
    """How it is secured. Raises InvalidInput for fields that do not go with its type.

    With `credentials_stay` all credentials may be left out: those that stand are kept, unless the
    client certificate is another than the known one.
    """
    fields.one_of(asked.connection_type, CONNECTION_TYPES, field="connection_type")
    protocol = CONNECTION_TYPES[asked.connection_type]
    _refuse_unused(asked, protocol)
    if credentials_stay and not asked.brings_credentials:
        if asked.client_certificate not in ("", known_certificate):
            raise InvalidInput("client_key is needed for a new client_certificate: add it")
        return protocol
    if protocol in WITH_SASL:
        _check_credentials(asked)
    _check_client_certificate(asked)
    return protocol


def bootstrap_servers(broker_url: str) -> tuple[str, ...]:
    """`host:port,host:port` as single addresses, blanks around them removed."""
    return tuple(part.strip() for part in broker_url.split(","))


def _refuse_unused(asked: BrokerConnection, protocol: SecurityProtocol) -> None:
    for names, used_by in ((_SASL_ONLY, WITH_SASL), (_TLS_ONLY, WITH_TLS)):
        if protocol in used_by:
            continue
        for name in names:
            if getattr(asked, name):
                others = " or ".join(CONNECTION_TYPE_NAMES[one] for one in used_by)
                raise InvalidInput(
                    f"{name} would not be used by connection_type {asked.connection_type}: "
                    f"leave it out, or ask for {others}"
                )


def _check_credentials(asked: BrokerConnection) -> None:
    for name in ("broker_username", "broker_password"):
        if not 0 < len(getattr(asked, name)) <= CREDENTIAL_CHARACTERS_MAX:
            raise InvalidInput(
                f"{name} is needed for connection_type {asked.connection_type}, "
                f"at most {CREDENTIAL_CHARACTERS_MAX} characters"
            )


def _check_client_certificate(asked: BrokerConnection) -> None:
    if bool(asked.client_certificate) != bool(asked.client_key):
        missing = "client_key" if asked.client_certificate else "client_certificate"
        raise InvalidInput(
            f"{missing} is needed: client_certificate and client_key belong together, send both"
        )
    if len(asked.client_key) > CLIENT_KEY_CHARACTERS_MAX:
        raise InvalidInput(f"client_key must have at most {CLIENT_KEY_CHARACTERS_MAX} characters")
