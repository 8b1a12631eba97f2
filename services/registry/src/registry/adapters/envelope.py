"""Envelope encryption: a data key per aggregate seals its secrets, a master key wraps data keys.

AES-256-GCM throughout. What a ciphertext is bound to (associated data) is encoded with lengths, so
it opens only in the place it was made for. A process is given one master key, or two while they are
being rotated; the vault says which one is in use. Price: a lost master key loses every secret; they
can be entered again, and the log never depended on them.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from dataclasses import dataclass, field
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
_DIGEST_KEYS = "digest keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestKeys:
    """What fingerprints and request hashes are keyed with. The same for ever: a vault's rotation
    must not make equal secrets look changed, nor repeated commands look new."""

    of_fingerprints: bytes = field(repr=False)
    of_requests: bytes = field(repr=False)

    def fingerprint(self, secret: bytes, *, stream_id: str, field: str) -> bytes:
        """8 bytes of an HMAC; equal for equal secrets of the same field and stream only."""
        message = _place(stream_id, field) + secret
        return hmac.digest(self.of_fingerprints, message, sha256)[:FINGERPRINT_BYTES]

    def request_digest(self, secret: bytes) -> bytes:
        """What stands for a secret in a request hash: a plain hash would let it be guessed."""
        return hmac.digest(self.of_requests, secret, sha256)


class Envelope:
    """Seals and opens with the master keys of this process. Shows no key anywhere.

    The last key given is the newest: the one that a rotation goes over to.
    """

    def __init__(self, *master_keys: bytes) -> None:
        if not master_keys or any(len(key) != KEY_BYTES for key in master_keys):
            raise SettingsError([f"a master key must be {KEY_BYTES} bytes"])
        self._keys = {key_id_of(key): _MasterKey(key) for key in master_keys}
        self.master_key_id, *_ = self._keys
        """The first key's id: 8 bytes that tell which key, and nothing about it."""
        *_, self.newest_key_id = self._keys

    @classmethod
    def load(cls, *paths: Path | None) -> Envelope:
        """From files of 32 bytes in base64 each; None is left out. Raises SettingsError."""
        return cls(*(_read_key(path) for path in paths if path is not None))

    @property
    def master_key_ids(self) -> frozenset[bytes]:
        """Ids of all keys of this process."""
        return frozenset(self._keys)

    def new_data_key(self, stream_id: str, *, master_key_id: bytes | None = None) -> bytes:
        """A fresh data key, wrapped by that master key (None: the first) for this stream."""
        master = self._master(master_key_id or self.master_key_id)
        return master.seal(secrets.token_bytes(KEY_BYTES), stream_id)

    def wrap_anew(self, wrapped_key: bytes, *, master_key_id: bytes, stream_id: str) -> bytes:
        """The same data key, wrapped by the newest master key. Raises StateForbids."""
        data_key = self._master(master_key_id).open(wrapped_key, stream_id)
        return self._keys[self.newest_key_id].seal(data_key, stream_id)

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
        data_key = AESGCM(self._master(master_key_id).open(wrapped_key, stream_id))
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
        """The secret. Raises StateForbids when altered, moved, or sealed by an unknown key."""
        data_key = AESGCM(self._master(master_key_id).open(wrapped_key, stream_id))
        return _open(data_key, sealed, _place(secret_id, stream_id, field))

    def new_digest_keys(self) -> bytes:
        """Random digest keys of a new vault, sealed by the first master key."""
        return self._master(self.master_key_id).seal(
            secrets.token_bytes(2 * KEY_BYTES), _DIGEST_KEYS
        )

    def derived_digest_keys(self) -> bytes:
        """The digest keys of a vault from before it kept any, sealed by the first master key."""
        master = self._master(self.master_key_id)
        return master.seal(master.derived_digest_keys, _DIGEST_KEYS)

    def digest_keys(self, sealed: bytes, *, master_key_id: bytes) -> DigestKeys:
        """Open digest keys. Raises StateForbids."""
        keys = self._master(master_key_id).open(sealed, _DIGEST_KEYS)
        return DigestKeys(of_fingerprints=keys[:KEY_BYTES], of_requests=keys[KEY_BYTES:])

    def seal_digest_keys_anew(self, sealed: bytes, *, master_key_id: bytes) -> bytes:
        """The same digest keys, sealed by the newest master key. Raises StateForbids."""
        keys = self._master(master_key_id).open(sealed, _DIGEST_KEYS)
        return self._keys[self.newest_key_id].seal(keys, _DIGEST_KEYS)

    def _master(self, master_key_id: bytes) -> _MasterKey:
        master = self._keys.get(bytes(master_key_id))
        if master is None:
            raise StateForbids(
                f"the vault uses the master key {bytes(master_key_id).hex()}, which this registry "
                "does not have: start it with the file of that key"
            )
        return master


class _MasterKey:
    """What one master key is good for."""

    def __init__(self, key: bytes) -> None:
        self._wrapping = AESGCM(_derived(key, "wrap data keys"))
        self._id = key_id_of(key).hex()
        self.derived_digest_keys = _derived(key, "fingerprint") + _derived(key, "request hash")

    def seal(self, plain: bytes, name: str) -> bytes:
        return _seal(self._wrapping, plain, _place(self._id, name))

    def open(self, sealed: bytes, name: str) -> bytes:
        return _open(self._wrapping, sealed, _place(self._id, name))


def key_id_of(master_key: bytes) -> bytes:
    """8 bytes that tell which master key it is, and nothing about it."""
    return sha256(_derived(master_key, "key id")).digest()[:KEY_ID_BYTES]


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(MASTER_KEY_FILE_BYTES_MAX)
        key = base64.b64decode(text.strip(), validate=True)
    except (OSError, ValueError) as error:
        raise SettingsError([f"{path} must hold {KEY_BYTES} bytes in base64"]) from error
    if len(key) != KEY_BYTES:
        raise SettingsError([f"{path} must hold {KEY_BYTES} bytes in base64"])
    return key


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
            "the secret was altered or moved and does not open: enter the credentials again, "
            "or delete its listener and create it again"
        ) from error
