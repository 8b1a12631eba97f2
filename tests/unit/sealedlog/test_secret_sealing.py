"""Secrets of an export: only the named key opens them, and only in their place."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput
from sealedlog.export_check import ExportCheck
from sealedlog.export_records import Manifest
from sealedlog.secret_sealing import (
    IMPORT_RECIPIENT,
    load_private_key,
    load_public_key,
    new_private_key,
    opened_secret,
    public_bytes,
    public_key_of,
    resealed,
    sealed_secret,
    without_secrets,
)

from tests.support.sealed_logs import batches_of, records_of

CANARY = b"canary-3f6c0e"


def _sealed(key: object, plain: bytes = CANARY) -> pb.ExportedSecret:
    return sealed_secret(
        plain,
        key.public_key(),  # type: ignore[attr-defined]
        secret_id=str(uuid4()),
        stream_id=str(uuid4()),
        field="credentials",
    )


def test_only_the_recipient_opens_a_secret() -> None:
    key, stranger = new_private_key(), new_private_key()
    secret = _sealed(key)
    assert opened_secret(secret, key) == CANARY
    assert CANARY not in secret.SerializeToString()
    with pytest.raises(InvalidInput, match="does not open"):
        opened_secret(secret, stranger)


@pytest.mark.parametrize("field", ["secret_id", "stream_id", "field"])
def test_a_secret_opens_in_its_own_place_only(field: str) -> None:
    key = new_private_key()
    secret = _sealed(key)
    setattr(secret, field, str(uuid4()))
    with pytest.raises(InvalidInput, match="does not open"):
        opened_secret(secret, key)


@pytest.mark.parametrize("sealed", [b"", b"x", bytes(100)])
def test_a_damaged_secret_does_not_open(sealed: bytes) -> None:
    key = new_private_key()
    secret = _sealed(key)
    secret.sealed = sealed
    with pytest.raises(InvalidInput, match="does not open"):
        opened_secret(secret, key)


def test_a_public_key_is_32_bytes() -> None:
    key = new_private_key()
    assert public_bytes(public_key_of(public_bytes(key))) == public_bytes(key)
    with pytest.raises(InvalidInput, match="32 bytes"):
        public_key_of(b"short")


def test_a_key_of_low_order_is_refused() -> None:
    with pytest.raises(InvalidInput, match="make another one"):
        sealed_secret(
            CANARY, public_key_of(bytes(32)), secret_id="a", stream_id="b", field="credentials"
        )


def test_keys_are_files_as_openssl_makes_them(tmp_path: Path) -> None:
    key = new_private_key()
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    assert public_bytes(load_private_key(private)) == public_bytes(key)
    assert public_bytes(load_public_key(public)) == public_bytes(key)
    assert public_bytes(load_public_key(private)) == public_bytes(key)
    with pytest.raises(InvalidInput, match="must hold an X25519 key"):
        load_private_key(public)
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_private_key(tmp_path / "none.pem")
    other = Ed25519PrivateKey.generate()
    private.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(InvalidInput, match="must hold an X25519 key"):
        load_public_key(private)


def _checked(records: object) -> Manifest:
    check = ExportCheck()
    for record in records:  # type: ignore[attr-defined]
        check.take(record)
    return check.finish()


def test_an_import_gets_the_secrets_under_its_own_key_and_the_same_chain() -> None:
    key, registry = new_private_key(), new_private_key()
    records = records_of(batches_of(2, 1), recipient="ops", secrets=[_sealed(key)])
    again = list(resealed(records, key, registry.public_key()))
    manifest = _checked(again)
    assert (manifest.recipient, manifest.secrets) == (IMPORT_RECIPIENT, 1)
    assert manifest.last == _checked(records).last
    assert opened_secret(again[-2].secret, registry) == CANARY


def test_an_import_may_leave_the_secrets_out() -> None:
    records = records_of(batches_of(2, 1), recipient="ops", secrets=[_sealed(new_private_key())])
    manifest = _checked(without_secrets(records))
    assert (manifest.recipient, manifest.secrets, manifest.events) == ("", 0, 3)


def test_another_key_is_told_without_the_secret() -> None:
    records = records_of(batches_of(1), recipient="ops", secrets=[_sealed(new_private_key())])
    with pytest.raises(InvalidInput) as caught:
        list(resealed(records, new_private_key(), new_private_key().public_key()))
    assert CANARY.decode() not in str(caught.value)


def test_secrets_come_once_each_and_after_the_batches() -> None:
    secret = _sealed(new_private_key())
    records = records_of(batches_of(1), recipient="ops", secrets=[secret, secret])
    with pytest.raises(InvalidInput, match="a secret that is none"):
        _checked(records)
    records = records_of(batches_of(1, 1), recipient="ops", secrets=[secret])
    records[2], records[3] = records[3], records[2]
    with pytest.raises(InvalidInput, match="after the secrets"):
        _checked(records)
