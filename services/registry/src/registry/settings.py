"""What the registry is told by its environment, read once. README.md has the table."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import Field
from servicekit.logs import hide
from servicekit.settings import Listen, ServiceSettings, SettingsError

DSN_BYTES_MAX = 4096


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


def read_dsn(path: Path) -> str:
    """The address in a file; its password is hidden in logs from now on. Raises SettingsError."""
    try:
        with path.open("rb") as file:
            dsn = file.read(DSN_BYTES_MAX).decode().strip()
        parts = urlsplit(dsn)
    except (OSError, ValueError) as error:
        raise SettingsError([f"{path} cannot be read as a database address"]) from error
    if parts.scheme not in {"postgresql", "postgres"} or not parts.hostname or not parts.username:
        raise SettingsError([f"{path} must hold postgresql://user:password@host:port/name"])
    if parts.password:
        hide(unquote(parts.password))
    return dsn
