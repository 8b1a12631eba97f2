"""The broker's properties file, as a function of what the tests may choose."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

Security = Literal["PLAINTEXT", "SASL_SSL"]
Door = Literal[
    "MTLS", "SASL_SSL_PLAIN", "SASL_PLAINTEXT_PLAIN", "SASL_PLAINTEXT_SCRAM_256", "PROXIED"
]
"""A further listener. MTLS asks for a client certificate, PROXIED for nothing, the others for a
user and a password."""
PROXIED: Door = "PROXIED"

INTERNAL_RECORD_BYTES_MAX = 24 * 1024 * 1024
RECORD_ROOM_BYTES = 1024 * 1024  # a batch's headers, keys and framing around the largest record
PORTS_MAX = 3
SCRAM = "SCRAM-SHA-512"
SCRAM_256 = "SCRAM-SHA-256"
_DOORS: dict[Door, tuple[str, str]] = {
    "MTLS": ("SSL", ""),
    "SASL_SSL_PLAIN": ("SASL_SSL", "PLAIN"),
    "SASL_PLAINTEXT_PLAIN": ("SASL_PLAINTEXT", "PLAIN"),
    "SASL_PLAINTEXT_SCRAM_256": ("SASL_PLAINTEXT", SCRAM_256),
    PROXIED: ("PLAINTEXT", ""),
}
"""Kafka's protocol and SASL mechanism of each."""

# One node that holds all roles; small, quick to regroup, and strict about unknown topics.
_ALWAYS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "2000",
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    "num.network.threads": "2",
    "num.io.threads": "4",
}


def broker_properties(
    *,
    folder: Path,
    ports: list[int],
    security: Security,
    record_bytes_max: int | None,
    overrides: Mapping[str, str],
    doors: Sequence[Door] = (),
    proxy_port: int | None = None,
    login: tuple[str, str] = ("", ""),
) -> str:
    """Text of the file. `ports` are for clients, controller, broker, and then the doors; None
    bytes = Kafka's limit. `login` is what PLAIN takes; whom PROXIED lets in is sent back to
    `proxy_port`."""
    names = ["CLIENT", "CONTROLLER", "INNER", *doors]
    addresses = {
        name: f"{name}://127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)
    }
    protocols: dict[str, str] = {
        "CLIENT": security,
        "CONTROLLER": "PLAINTEXT",
        "INNER": "PLAINTEXT",
    }
    protocols |= {door: _DOORS[door][0] for door in doors}
    told = {name: address for name, address in addresses.items() if name != "CONTROLLER"}
    if proxy_port is not None:
        told[PROXIED] = f"{PROXIED}://127.0.0.1:{proxy_port}"
    controller = addresses["CONTROLLER"].removeprefix("CONTROLLER://")
    settings = _ALWAYS | {
        "controller.quorum.voters": f"1@{controller}",
        "listeners": ",".join(addresses.values()),
        "advertised.listeners": ",".join(told.values()),
        "listener.security.protocol.map": ",".join(f"{n}:{p}" for n, p in protocols.items()),
        "inter.broker.listener.name": "INNER",
        "log.dirs": str(folder / "data"),
    }
    if security == "SASL_SSL":
        settings |= _tls("CLIENT", folder) | _sasl("CLIENT", SCRAM, login)
    for door in doors:
        protocol, mechanism = _DOORS[door]
        if protocol.endswith("SSL"):
            settings |= _tls(door, folder)
        if mechanism:
            settings |= _sasl(door, mechanism, login)
        elif protocol == "SSL":
            settings[f"listener.name.{door.lower()}.ssl.client.auth"] = "required"
    if record_bytes_max is not None:
        batch_bytes_max = str(record_bytes_max + RECORD_ROOM_BYTES)
        settings |= {
            "message.max.bytes": batch_bytes_max,
            "replica.fetch.max.bytes": batch_bytes_max,
        }
    return "".join(f"{key}={value}\n" for key, value in (settings | dict(overrides)).items())


def _tls(listener: str, folder: Path) -> dict[str, str]:
    prefix = f"listener.name.{listener.lower()}.ssl"
    return {
        f"{prefix}.keystore.type": "PEM",
        f"{prefix}.keystore.location": str(folder / "broker.pem"),
        f"{prefix}.truststore.type": "PEM",
        f"{prefix}.truststore.location": str(folder / "ca.pem"),
    }


def _sasl(listener: str, mechanism: str, login: tuple[str, str]) -> dict[str, str]:
    """Kafka refuses a SASL listener without its JAAS line, although SCRAM keeps users elsewhere."""
    prefix = f"listener.name.{listener.lower()}"
    username, password = login
    security = "org.apache.kafka.common.security"
    jaas = {
        "PLAIN": f'{security}.plain.PlainLoginModule required user_{username}="{password}";',
    }.get(mechanism, f"{security}.scram.ScramLoginModule required;")
    return {
        f"{prefix}.sasl.enabled.mechanisms": mechanism,
        f"{prefix}.{mechanism.lower()}.sasl.jaas.config": jaas,
    }
