"""The broker's properties file, as a function of what the tests may choose."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Security = Literal["PLAINTEXT", "SASL_SSL"]

INTERNAL_RECORD_BYTES_MAX = 24 * 1024 * 1024
RECORD_ROOM_BYTES = 1024 * 1024  # a batch's headers, keys and framing around the largest record
PORTS_MAX = 3
SCRAM = "SCRAM-SHA-512"

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
) -> str:
    """Text of the file. `ports` are for clients, controller, broker; None bytes = Kafka's limit."""
    client, controller, inner = ports
    listeners = {"CLIENT": client, "CONTROLLER": controller, "INNER": inner}
    addresses = {name: f"{name}://127.0.0.1:{port}" for name, port in listeners.items()}
    settings = _ALWAYS | {
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": ",".join(addresses.values()),
        "advertised.listeners": f"{addresses['CLIENT']},{addresses['INNER']}",
        "listener.security.protocol.map": f"CLIENT:{security},CONTROLLER:PLAINTEXT,INNER:PLAINTEXT",
        "inter.broker.listener.name": "INNER",
        "log.dirs": str(folder / "data"),
    }
    if security == "SASL_SSL":
        settings |= _tls_and_scram(folder)
    if record_bytes_max is not None:
        batch_bytes_max = str(record_bytes_max + RECORD_ROOM_BYTES)
        settings |= {
            "message.max.bytes": batch_bytes_max,
            "replica.fetch.max.bytes": batch_bytes_max,
        }
    return "".join(f"{key}={value}\n" for key, value in (settings | dict(overrides)).items())


def _tls_and_scram(folder: Path) -> dict[str, str]:
    """Kafka refuses a SASL listener without its JAAS line, although SCRAM keeps users elsewhere."""
    listener = "listener.name.client"
    return {
        f"{listener}.sasl.enabled.mechanisms": SCRAM,
        f"{listener}.{SCRAM.lower()}.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        f"{listener}.ssl.keystore.type": "PEM",
        f"{listener}.ssl.keystore.location": str(folder / "broker.pem"),
        f"{listener}.ssl.truststore.type": "PEM",
        f"{listener}.ssl.truststore.location": str(folder / "ca.pem"),
    }
