"""What the runner is told by its environment, read once. README.md has the table."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from servicekit.settings import Address, Addresses, Listen, ServiceSettings

from runner.domain.limits import COMPLETION_RETENTION_DAYS

GIB = 1024**3
SOURCE_SCHEMES = frozenset({"https", "ssh", "file"})


class RunnerSettings(ServiceSettings, env_prefix="EVENTFLOWS_RUNNER_"):
    """Environment variables EVENTFLOWS_RUNNER_*."""

    http_listen: Listen = Field(description="host:port where runs are taken")
    rpc_listen: Listen = Field(description="host:port where gRPC listens")
    registry_address: Address = Field(description="host:port of the registry")
    kafka_bootstrap_servers: Addresses = Field(
        description="addresses of our own Kafka, which takes the completions, with commas"
    )
    completions_retention_days: int = Field(
        COMPLETION_RETENTION_DAYS,
        ge=1,
        le=3_650,
        description="days for which completions are kept, of topics that are made from now on",
    )
    data_dir: Path = Field(
        description="folder for builds and environments, used by one runner at a time"
    )
    source_schemes: str = Field(
        "https,ssh,file",
        description="schemes of git URLs that may be built, with commas; leave out file where "
        "strangers create algorithms",
    )
    sessions_per_account_max: int = Field(
        80, ge=1, le=100_000, description="runs at the same time for one account"
    )
    processes_per_version_max: int = Field(
        0,
        ge=0,
        le=1_000,
        description="processes of one algorithm version, each with one run at a time; 0: one for "
        "each processor",
    )
    processes_max: int = Field(64, ge=1, le=10_000, description="processes of all versions")
    process_idle_s: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="seconds without a run after which a process is stopped; the last one of a "
        "version stays 12 times as long",
    )
    memory_per_process_bytes: int = Field(
        4 * GIB, ge=64 * 1024**2, description="private memory that one process may have"
    )
    cpu_per_process_max_s: int = Field(
        86_400,
        ge=60,
        description="processor seconds of a process's life; it is replaced, between runs, at half",
    )
    files_per_process_max: int = Field(
        1_024, ge=64, le=65_536, description="files that one process may have open"
    )
    load_timeout_s: float = Field(
        300.0, gt=0, le=3_000, description="seconds that loading an algorithm may take"
    )
    build_timeout_s: float = Field(
        570.0, gt=0, le=3_600, description="seconds that a build may take, loading included"
    )
    catalog_stale_max_s: float = Field(
        300.0,
        gt=0,
        description="seconds without news from the registry after which runs are refused",
    )
    catalog_snapshot_file: Path | None = Field(
        None,
        description="file where the catalog is kept, so that a restart need not wait for the "
        "registry; optional",
    )
    stop_grace_s: float = Field(
        10.0, ge=0, le=3_000, description="seconds that runs in progress have when stopping"
    )

    @field_validator("source_schemes")
    @classmethod
    def _known_schemes(cls, value: str) -> str:
        names = {name.strip() for name in value.split(",")}
        if not names <= SOURCE_SCHEMES:
            raise ValueError("must name some of https, ssh, file, with commas")
        return ",".join(sorted(names))
