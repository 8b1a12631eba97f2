"""A recipient's key files: X25519 in PEM, as openssl reads and writes them too. Pure but for random
numbers."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from sealedlog.secret_sealing import new_private_key


def new_key_pair() -> tuple[bytes, bytes]:
    """(private, public), both PEM."""
    key = new_private_key()
    return (
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


def public_file(private: Path) -> Path:
    """Where the public half goes."""
    return private.with_name(f"{private.name}.pub")
