"""Secrets in an export: sealed for one recipient by HPKE (RFC 9180), each bound to its place.

Suite: X25519, HKDF-SHA256, AES-256-GCM, base mode. `info` names the purpose, the secret's id, its
stream and its field, so a sealed secret opens in its own place only. Keys are PEM files as
`openssl genpkey -algorithm X25519` makes them. The private key never leaves its owner: who imports
opens the secrets and seals them again for the registry's key of that one call (`resealed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput

from sealedlog.export_records import ExportBuilder
from sealedlog.verification import ChainPoint

KEY_FILE_BYTES_MAX: Final = 16 * 1024
PUBLIC_KEY_BYTES: Final = 32
IMPORT_RECIPIENT: Final = "import"
"""Stands in the header of a stream whose secrets are for the registry that imports it."""
IMPORT_KEY_METADATA: Final = "ef-import-key-bin"
"""In the initial metadata of `ImportLog`: the registry's public key of this one call, 32 bytes."""

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_PURPOSE: Final = b"eventflows log export v1"


def new_private_key() -> X25519PrivateKey:
    """A fresh key."""
    return X25519PrivateKey.generate()


def public_bytes(key: X25519PrivateKey | X25519PublicKey) -> bytes:
    """The 32 bytes of its public half."""
    public = key.public_key() if isinstance(key, X25519PrivateKey) else key
    return public.public_bytes_raw()


def load_public_key(path: Path) -> X25519PublicKey:
    """From a PEM file of a public key, or of a private one. Raises InvalidInput."""
    content = _read(path)
    try:
        key = load_pem_public_key(content)
    except ValueError:
        return load_private_key(path).public_key()
    if not isinstance(key, X25519PublicKey):
        raise InvalidInput(f"{path} must hold an X25519 key in PEM")
    return key


def load_private_key(path: Path) -> X25519PrivateKey:
    """From a PEM file without a password. Raises InvalidInput."""
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{path} must hold an X25519 key in PEM, without a password") from error
    if not isinstance(key, X25519PrivateKey):
        raise InvalidInput(f"{path} must hold an X25519 key in PEM")
    return key


def public_key_of(raw: bytes) -> X25519PublicKey:
    """From 32 bytes. Raises InvalidInput."""
    if len(raw) != PUBLIC_KEY_BYTES:
        raise InvalidInput(f"the recipient's key must be an X25519 key of {PUBLIC_KEY_BYTES} bytes")
    return X25519PublicKey.from_public_bytes(raw)


def sealed_secret(
    plain: bytes, public_key: X25519PublicKey, *, secret_id: str, stream_id: str, field: str
) -> pb.ExportedSecret:
    """A secret that only the owner of the key opens. Raises InvalidInput for a key of low order."""
    try:
        sealed = _SUITE.encrypt(plain, public_key, info=_info(secret_id, stream_id, field))
    except ValueError as error:
        raise InvalidInput("the recipient's key is none: make another one") from error
    return pb.ExportedSecret(secret_id=secret_id, stream_id=stream_id, field=field, sealed=sealed)


def opened_secret(secret: pb.ExportedSecret, private_key: X25519PrivateKey) -> bytes:
    """The secret in clear. Raises InvalidInput for another key, or when it was altered or moved."""
    info = _info(secret.secret_id, secret.stream_id, secret.field)
    try:
        return _SUITE.decrypt(secret.sealed, private_key, info=info)
    except (InvalidTag, ValueError) as error:
        raise InvalidInput(
            "a secret of the export does not open: it was sealed for another key, or altered"
        ) from error


def resealed(
    records: Iterable[pb.ExportRecord],
    private_key: X25519PrivateKey,
    registry_key: X25519PublicKey,
) -> Iterator[pb.ExportRecord]:
    """The records of a verified export, with its secrets for the registry. Raises InvalidInput."""

    def again(secret: pb.ExportedSecret) -> pb.ExportedSecret:
        return sealed_secret(
            opened_secret(secret, private_key),
            registry_key,
            secret_id=secret.secret_id,
            stream_id=secret.stream_id,
            field=secret.field,
        )

    builder = ExportBuilder()
    for record in records:
        match record.WhichOneof("record"):
            case "header":
                yield builder.passed(_header_for(record, IMPORT_RECIPIENT))
            case "secret":
                yield builder.secret(again(record.secret))
            case "trailer":
                yield builder.trailer(_last(record.trailer))
            case _:
                yield builder.passed(record)


def without_secrets(records: Iterable[pb.ExportRecord]) -> Iterator[pb.ExportRecord]:
    """The records of a verified export, its secrets left out."""
    builder = ExportBuilder()
    for record in records:
        match record.WhichOneof("record"):
            case "header":
                yield builder.passed(_header_for(record, ""))
            case "secret":
                continue
            case "trailer":
                yield builder.trailer(_last(record.trailer))
            case _:
                yield builder.passed(record)


def _header_for(record: pb.ExportRecord, recipient: str) -> pb.ExportRecord:
    changed = pb.ExportRecord()
    changed.CopyFrom(record)
    changed.header.recipient = recipient
    return changed


def _last(trailer: pb.ExportTrailer) -> ChainPoint:
    return ChainPoint(position=trailer.last_position, hash=trailer.last_hash)


def _info(*place: str) -> bytes:
    encoded = [part.encode() for part in place]
    return _PURPOSE + b"".join(len(part).to_bytes(4) + part for part in encoded)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(KEY_FILE_BYTES_MAX)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: name a key file in PEM") from error
