"""`make_secrets.py FOLDER POSTGRES DATABASE`: the secrets of a Docker cluster, made once.

Writes the services' identities, the vault's master key, a password for PostgreSQL's superuser and
the address of the database for each login. What exists is kept: a restart changes nothing.
"""

from __future__ import annotations

import base64
import os
import secrets
import sys
from pathlib import Path

from servicekit.identity import ROLES, create_identities

MASTER_KEY_BYTES = 32
DEAD_LETTER_LOGIN = "dead_letters_app"
DEAD_LETTER_DATABASE = "dead_letters"
LOGINS = {"owner": "postgres", "log_app": "log_app", "vault_app": "vault_app", "log_ops": "log_ops"}
SERVICE_UID = 10001  # the user of the Dockerfile


def main(folder: Path, postgres: str, database: str) -> None:
    """Write what is missing."""
    if not (folder / "identities.json").exists():
        create_identities(folder, ROLES)
    keep(folder / "master.key", base64.b64encode(secrets.token_bytes(MASTER_KEY_BYTES)).decode())
    for file, login in LOGINS.items():
        password = keep(folder / f"{login}.password", secrets.token_urlsafe(24))
        keep(folder / f"{file}.dsn", f"postgresql://{login}:{password}@{postgres}/{database}")
    password = keep(folder / f"{DEAD_LETTER_LOGIN}.password", secrets.token_urlsafe(24))
    address = f"{DEAD_LETTER_LOGIN}:{password}@{postgres}/{DEAD_LETTER_DATABASE}"
    keep(folder / f"{DEAD_LETTER_LOGIN}.dsn", f"postgresql://{address}")
    for path in folder.iterdir():
        os.chown(path, SERVICE_UID, SERVICE_UID)


def keep(path: Path, text: str) -> str:
    """The file's content; `text` is written first when there is no file."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    return path.read_text()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
