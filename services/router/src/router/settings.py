"""What a router worker is told by its environment: `EVENTFLOWS_ROUTER_*`."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints
from servicekit.settings import Address, Addresses, HostPort, Listen, ServiceSettings

WILDCARD_HOSTS = frozenset({"0.0.0.0", "::"})  # noqa: S104  compared with, never listened on

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class RouterSettings(ServiceSettings, env_prefix="EVENTFLOWS_ROUTER_"):
    """One worker. `worker_name` and `rpc_address` fill in what was left to the machine."""

    registry_address: Address = Field(description="host:port of the registry's gRPC")
    runner_url: str = Field(
        description="http://host:port of the runner, which runs algorithms",
        pattern=r"^https?://[^/\s]+/?$",
    )
    runner_ca_file: Path | None = Field(
        None,
        description="PEM file with the authorities of an https runner_url; empty: the system's own",
    )
    kafka_bootstrap_servers: Addresses = Field(
        description="host:port of brokers of our internal Kafka, with commas"
    )
    rpc_listen: Listen = Field(description="host:port where gRPC listens")
    rpc_advertise: Address | None = Field(
        None,
        description="host:port at which other workers reach rpc_listen, where that differs",
    )
    web_listen: Listen = Field(description="host:port of the health page")
    data_dir: Path = Field(description="folder for Faust's files, one for each worker")
    group_prefix: Name = Field(
        "eventflows",
        description="first word of all our consumer groups; the same for all workers of a cluster",
    )
    worker_id: Name | None = Field(
        None, description="name of this worker, one for each; empty: made of host and process id"
    )
    catalog_stale_max_s: float = Field(
        300.0, gt=0, description="seconds without news of the registry until health says not ready"
    )
    catalog_snapshot_file: Path | None = Field(
        None,
        description="file where the catalog is kept, so that a restart need not wait for the "
        "registry; optional",
    )
    dead_letter_dsn_file: Path | None = Field(
        None,
        description="file with the address of the database for the index of dead letters, "
        "postgresql://user:password@host:port/name; optional, without it nobody can list them",
    )
    dead_letter_retention_days: int = Field(
        30, ge=1, le=3650, description="days for which dead letters are kept"
    )

    @property
    def dead_letter_retention_s(self) -> float:
        """The same in seconds."""
        return self.dead_letter_retention_days * 86_400.0

    otlp_endpoint: str | None = Field(
        None,
        description="http://host:port of a collector that takes OpenTelemetry traces by OTLP over "
        "HTTP; empty: nothing is traced",
        pattern=r"^https?://[^/\s]+/?$",
    )
    otlp_sample_ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="part of the records without a traceparent of their own that are traced; those "
        "that have one decide for themselves",
    )

    @property
    def kafka_servers(self) -> str:
        """The brokers of our internal Kafka as aiokafka takes them."""
        return ",".join(str(server) for server in self.kafka_bootstrap_servers)

    def worker_name(self) -> str:
        """`worker_id`, else a name that no other process has. Call it once."""
        if self.worker_id is not None:
            return self.worker_id
        host = "".join(c if c.isalnum() or c in "-." else "-" for c in socket.gethostname())
        return f"{host[:40] or 'worker'}-{os.getpid()}-{secrets.token_hex(3)}"

    def rpc_address(self, listening: HostPort) -> HostPort:
        """Where other workers reach us, if `listening` is what rpc_listen became."""
        if self.rpc_advertise is not None:
            return self.rpc_advertise
        if listening.host in WILDCARD_HOSTS:
            return HostPort(socket.gethostname(), listening.port)
        return listening
