"""`secrets keygen`: a key pair for exports with secrets (X25519)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from kernel.errors import AlreadyExists, InvalidInput, NotFound

from eventflows_cli.app import secrets
from eventflows_cli.recipient_keys import new_key_pair, public_file
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.views import results as view


@command(secrets, "keygen")
async def keygen(
    run: Run,
    *,
    file: Annotated[Path, typer.Argument(help="Gets the private key; FILE.pub the public one.")],
) -> int:
    """Make a recipient's key pair: `log export --with-vault` seals secrets for its public half."""
    _check_place(file)
    private_pem, public_pem = new_key_pair()
    _write_new(file, private_pem, mode=0o600)
    _write_new(public_file(file), public_pem, mode=0o644)
    document = {"private_key_file": str(file), "public_key_file": str(public_file(file))}
    run.output.show(document, view.key_pair)
    return DONE


def _check_place(file: Path) -> None:
    """Before anything is written: both files are new, in a folder that is there.

    Raises InvalidInput, NotFound, AlreadyExists.
    """
    if file.is_dir():
        raise InvalidInput(f"{file} is a folder: name a file in it")
    if not file.parent.is_dir():
        raise NotFound(f"the folder {file.parent} does not exist: make it")
    for each in (file, public_file(file)):
        if each.exists():
            raise AlreadyExists(
                f"{each} exists, and a key is never overwritten: choose another name"
            )


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Raises OSError, also when the file exists: a key is never overwritten."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
