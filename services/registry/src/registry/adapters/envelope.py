"""Envelope encryption: a data key per aggregate seals its secrets, the master key seals data keys.

AES-256-GCM throughout. What a ciphertext is bound to (associated data) is encoded with lengths, so
it opens only in the place it was made for. Price: a lost master key loses every secret; they can
be entered again, and the log never depended on them.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from kernel.errors import StateForbids
from servicekit.settings import SettingsError

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_ID_BYTES = 8
FINGERPRINT_BYTES = 8
MASTER_KEY_FILE_BYTES_MAX = 4096


class Envelope:
    """Seals and opens with one master key. Shows no key anywhere."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != KEY_BYTES:
            raise SettingsError([f"the master key must be {KEY_BYTES} bytes"])
        self._wrapping = AESGCM(_derived(master_key, "wrap data keys"))
        self._fingerprint_key = _derived(master_key, "fingerprint")
        self._request_key = _derived(master_key, "request hash")
        self.master_key_id = sha256(_derived(master_key, "key id")).digest()[:KEY_ID_BYTES]

    @classmethod
    def load(cls, path: Path) -> Envelope:
        """From a file of 32 bytes in base64. Raises SettingsError."""
        try:
            with path.open("rb") as file:
                text = file.read(MASTER_KEY_FILE_BYTES_MAX)
            key = base64.b64decode(text.strip(), validate=True)
        except (OSError, ValueError) as error:
            raise SettingsError([f"{path} must hold {KEY_BYTES} bytes in base64"]) from error
        if len(key) != KEY_BYTES:
            raise SettingsError([f"{path} must hold {KEY_BYTES} bytes in base64"])
        return cls(key)

    def new_data_key(self, stream_id: str) -> bytes:
        """A fresh data key, sealed by the master key for this stream."""
        return _seal(self._wrapping, secrets.token_bytes(KEY_BYTES), self._key_place(stream_id))

    def seal(
        self,
        secret: bytes,
        *,
        wrapped_key: bytes,
        master_key_id: bytes,
        secret_id: str,
        stream_id: str,
        field: str,
    ) -> bytes:
        """Nonce, ciphertext and tag. Raises StateForbids when the data key does not open."""
        data_key = self._unwrap(wrapped_key, master_key_id, stream_id)
        return _seal(data_key, secret, _place(secret_id, stream_id, field))

    def open(
        self,
        sealed: bytes,
        *,
        wrapped_key: bytes,
        master_key_id: bytes,
        secret_id: str,
        stream_id: str,
        field: str,
    ) -> bytes:
        """The secret. Raises StateForbids when altered, moved, or sealed by another master key."""
        data_key = self._unwrap(wrapped_key, master_key_id, stream_id)
        return _open(data_key, sealed, _place(secret_id, stream_id, field))

    def fingerprint(self, secret: bytes, *, stream_id: str, field: str) -> bytes:
        """8 bytes of an HMAC; equal for equal secrets of the same field and stream only."""
        message = _place(stream_id, field) + secret
        return hmac.digest(self._fingerprint_key, message, sha256)[:FINGERPRINT_BYTES]

    def request_digest(self, secret: bytes) -> bytes:
        """What stands for a secret in a request hash: a plain hash would let it be guessed."""
        return hmac.digest(self._request_key, secret, sha256)

    def _unwrap(self, wrapped_key: bytes, master_key_id: bytes, stream_id: str) -> AESGCM:
        if master_key_id != self.master_key_id:
            raise StateForbids(
                "the secret was sealed under another master key: give the registry that key, "
                "or delete the connection or listener and create it again"
            )
        return AESGCM(_open(self._wrapping, wrapped_key, self._key_place(stream_id)))

    def _key_place(self, stream_id: str) -> bytes:
        return _place(self.master_key_id.hex(), stream_id)


def _derived(master_key: bytes, purpose: str) -> bytes:
    info = f"eventflows vault: {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(master_key)


def _place(*parts: str) -> bytes:
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4) + part for part in encoded)


def _seal(key: AESGCM, plain: bytes, place: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + key.encrypt(nonce, plain, place)


def _open(key: AESGCM, sealed: bytes, place: bytes) -> bytes:
    try:
        return key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
    except (InvalidTag, ValueError) as error:
        raise StateForbids(
            "the secret was altered or moved and does not open: delete its connection or listener "
            "and create it again"
        ) from error
