"""The place of the secrets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultEntry:
    """A secret's whereabouts. Not `used`: no event is known to name it."""

    secret_id: str
    stream_id: str
    used: bool


class Vault(Protocol):
    """Broker credentials, encrypted at rest, each bound to its id, its stream and its field.

    Nothing that this port returns or raises holds a secret, but for the result of `read`.
    """

    def fingerprint(self, *, stream_id: str, field: str, secret: bytes) -> bytes:
        """8 bytes that tell whether a secret is the same as before; worthless without the key."""
        ...

    async def put(self, *, secret_id: str, stream_id: str, field: str, secret: bytes) -> None:
        """Store a secret as pending, durably. `secret_id` must be fresh."""
        ...

    async def mark_used(self, secret_id: str) -> None:
        """An event names the secret. Harmless twice, and for one that is gone."""
        ...

    async def discard(self, secret_id: str) -> None:
        """Forget a pending secret. Harmless twice; a used one stays."""
        ...

    async def read(self, *, secret_id: str, stream_id: str, field: str) -> bytes:
        """The secret in clear. Raises NotFound; StateForbids when it was altered or moved, or was
        sealed under another master key."""
        ...

    async def older(self, *, than_s: float, after: str, limit: int) -> Sequence[VaultEntry]:
        """Secrets older than `than_s`, by id after `after` ("" from the start)."""
        ...

    async def shred(self, stream_id: str) -> None:
        """Destroy the stream's data key and with it every secret of the stream. Harmless twice."""
        ...
