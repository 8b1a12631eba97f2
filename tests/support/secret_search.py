"""Looking for secrets in bytes: as they are, in base64 and in hex."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

CHUNK_BYTES = 1 << 20


def spellings(secret: bytes) -> list[bytes]:
    """How a secret may stand in other bytes: in clear, hex, and base64 at each of the three places
    that it can have in a longer encoded text (what its neighbours change is cut off)."""
    found = [secret, secret.hex().encode(), secret.hex().upper().encode()]
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(bytes(before) + secret)
            first = (before * 8 + 5) // 6
            last = (before + len(secret)) * 8 // 6
            found.append(encoded[first:last])
    return list(dict.fromkeys(found))


class SecretSearch:
    """Knows what to look for, by name. `everywhere`: in every spelling, the others in clear."""

    def __init__(self, plain: Mapping[str, bytes], everywhere: Mapping[str, bytes]) -> None:
        self._needles = [(name, secret) for name, secret in plain.items()]
        self._needles += [
            (name, spelling)
            for name, secret in everywhere.items()
            for spelling in spellings(secret)
        ]
        self._overlap_bytes = max(len(needle) for _, needle in self._needles)

    def in_bytes(self, content: bytes) -> set[str]:
        """Names of the secrets that stand there."""
        return {name for name, needle in self._needles if needle in content}

    def in_file(self, path: Path) -> set[str]:
        """Names of the secrets that stand in the file, also across the chunks it is read in."""
        tail, found = b"", set()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                found |= self.in_bytes(tail + chunk)
                tail = (tail + chunk)[-self._overlap_bytes :]
        return found
