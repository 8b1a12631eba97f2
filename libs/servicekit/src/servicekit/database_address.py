"""The address of a database, which holds a password and so stands in a file."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from servicekit.logs import hide
from servicekit.settings import SettingsError

DSN_BYTES_MAX = 4096


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
