"""How to reach and enter one Kafka cluster."""

from __future__ import annotations

from dataclasses import dataclass, field

from catalog.events import SecurityProtocol

SASL_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConnection:
    """Address, security and credentials. What is secret is kept out of `repr`.

    `ca_certificate` is PEM text; empty: the system's authorities. `client_certificate` (PEM, with
    its chain) and `client_key` (PEM, not encrypted) are shown to a broker that asks for them; both
    are empty or none.
    """

    connection_id: str
    bootstrap_servers: tuple[str, ...]
    security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    sasl_mechanism: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    ca_certificate: str = field(default="", repr=False)
    client_certificate: str = field(default="", repr=False)
    client_key: str = field(default="", repr=False)
