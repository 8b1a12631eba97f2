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
CONNECTION_TYPES = {
    "kafka_sasl_ssl": SecurityProtocol.SASL_SSL,
    "kafka_unauthenticated_plaintext": SecurityProtocol.PLAINTEXT,
}
CONNECTION_TYPE_NAMES = {protocol: name for name, protocol in CONNECTION_TYPES.items()}
_SECURED_ONLY = ("broker_username", "broker_password", "ca_certificate", "sasl_mechanism")


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


def security_protocol(
    asked: BrokerConnection, *, credentials_stay: bool = False
) -> SecurityProtocol:
    """How it is secured. Raises InvalidInput for fields that do not go with its type.

    With `credentials_stay` both credentials may be left out: those that stand are kept.
    """
    fields.one_of(asked.connection_type, CONNECTION_TYPES, field="connection_type")
    protocol = CONNECTION_TYPES[asked.connection_type]
    if protocol is SecurityProtocol.SASL_SSL:
        if not (credentials_stay and not asked.broker_username and not asked.broker_password):
            _check_credentials(asked)
        return protocol
    for name in _SECURED_ONLY:
        if getattr(asked, name):
            raise InvalidInput(
                f"{name} would not be used by connection_type {asked.connection_type}: "
                "leave it out, or ask for kafka_sasl_ssl"
            )
    return protocol


def bootstrap_servers(broker_url: str) -> tuple[str, ...]:
    """`host:port,host:port` as single addresses, blanks around them removed."""
    return tuple(part.strip() for part in broker_url.split(","))


def _check_credentials(asked: BrokerConnection) -> None:
    for name in ("broker_username", "broker_password"):
        if not 0 < len(getattr(asked, name)) <= CREDENTIAL_CHARACTERS_MAX:
            raise InvalidInput(
                f"{name} is needed for connection_type kafka_sasl_ssl, "
                f"at most {CREDENTIAL_CHARACTERS_MAX} characters"
            )
