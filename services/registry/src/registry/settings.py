"""What the registry is told by its environment, read once. README.md has the table."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from servicekit.settings import Listen, ServiceSettings


class RegistrySettings(ServiceSettings, env_prefix="EVENTFLOWS_REGISTRY_"):
    """Environment variables EVENTFLOWS_REGISTRY_*."""

    listen: Listen = Field(description="host:port where gRPC listens")
    database_dsn_file: Path = Field(
        description="file with the address of the log's database, postgresql://user:password@host:port/name"
    )
    vault_dsn_file: Path = Field(
        description="file with the address of the vault's database, with a user of its own"
    )
    master_key_file: Path = Field(
        description="file with the vault's master key, 32 random bytes in base64"
    )
    new_master_key_file: Path | None = Field(
        None,
        description="file with the master key that `rotate-master-key` goes over to; "
        "only while keys are rotated",
    )
    owner_dsn_file: Path | None = Field(
        None, description="file with an administrator's address of the database; for `migrate` only"
    )
    ops_dsn_file: Path | None = Field(
        None,
        description="file with an operator's address of the database; for `migrate`, `archive` and "
        "imports, optional",
    )
