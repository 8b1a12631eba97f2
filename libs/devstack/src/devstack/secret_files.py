"""The secrets of a development cluster: made once, kept in files that only their owner may read."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from servicekit.identity import ROLES, create_identities

MASTER_KEY_BYTES = 32


class SecretFiles:
    """Identities of the services, the vault's master key, database addresses: below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.identities.exists():
            create_identities(folder, ROLES)
        if not self.master_key.exists():
            key = secrets.token_bytes(MASTER_KEY_BYTES)
            self.write("master.key", base64.b64encode(key).decode())

    @property
    def identities(self) -> Path:
        return self.folder / "identities.json"

    @property
    def master_key(self) -> Path:
        return self.folder / "master.key"

    def token(self, role: str) -> Path:
        """File with the bearer token of a role."""
        return self.folder / f"{role}.token"

    def database(self, login: str, superuser_dsn: str) -> Path:
        """File with the address of the same database for another login; its password is kept."""
        password = self.folder / f"{login}.password"
        if not password.exists():
            self.write(password.name, secrets.token_urlsafe(24))
        at = urlsplit(superuser_dsn)
        address = at._replace(
            netloc=f"{login}:{password.read_text()}@{at.hostname}:{at.port or 5432}"
        )
        return self.write(f"{login}.dsn", urlunsplit(address))

    def write(self, name: str, text: str) -> Path:
        """Put `text` into a file with mode 0600 and give its path."""
        path = self.folder / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        return path
