"""The place of the secrets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

SUPERSEDED_KEPT_S = 30 * 24 * 3600.0
"""How long a replaced secret is kept, so that its aggregate can be reverted to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultEntry:
    """A secret's whereabouts.

    Not `used`: no event is known to name it. `superseded`: the log went on to another secret.
    `shreddings`: how often its stream had been shredded when its data key was made.
    """

    secret_id: str
    stream_id: str
    used: bool
    superseded: bool = False
    shreddings: int = 0


class Vault(Protocol):
    """Broker credentials, encrypted at rest, each bound to its id, its stream and its field.

        (none) ── put ──▶ pending ── mark_used ──▶ used ◀── mark_used ── superseded
                             │                      └──── supersede ────▶    │
                          discard                                  destroy_superseded

    `shred` ends all of them at once. Every step is durable when it returns, and harmless when it is
    repeated. Nothing that this port returns or raises holds a secret, but for the result of `read`.
    """

    def fingerprint(self, *, stream_id: str, field: str, secret: bytes) -> bytes:
        """8 bytes that tell whether a secret is the same as before; worthless without the key.

        The same for ever, also when the master key was rotated.
        """
        ...

    def request_digest(self, secret: bytes) -> bytes:
        """32 bytes that stand for a secret in a request hash; as lasting as a fingerprint."""
        ...

    async def put(
        self, *, secret_id: str, stream_id: str, field: str, secret: bytes, shreddings: int = 0
    ) -> None:
        """Store a secret as pending, durably. `secret_id` must be fresh.

        `shreddings` is how often the log has shredded the stream by now: a data key from before the
        last of them is destroyed first, never used again. Raises VersionConflict when the vault
        knows of more shreddings than the caller: read the stream again.
        """
        ...

    async def mark_used(self, secret_id: str) -> None:
        """The log names the secret now: pending or superseded no more. Harmless for one that is
        gone."""
        ...

    async def supersede(self, secret_id: str) -> None:
        """The log names another secret in its place from now on; its 30 days begin. Harmless for
        one that is superseded already (its time goes on) or gone."""
        ...

    async def holds(self, *, secret_id: str, stream_id: str) -> bool:
        """Is the secret here? If it was superseded, its 30 days begin anew: the caller may append
        an event that names it without anybody destroying it meanwhile."""
        ...

    async def discard(self, secret_id: str) -> None:
        """Forget a pending secret. Harmless twice; a used one stays."""
        ...

    async def destroy_superseded(self, secret_id: str, *, than_s: float) -> bool:
        """Destroy a secret that was superseded longer than `than_s` ago; was it one?"""
        ...

    async def read(self, *, secret_id: str, stream_id: str, field: str) -> bytes:
        """The secret in clear, also a pending or superseded one. Raises NotFound (code
        `catalog.errors.SECRET_GONE`); StateForbids when it was altered or moved, or was
        sealed under a master key that this process does not have."""
        ...

    async def older(self, *, than_s: float, after: str, limit: int) -> Sequence[VaultEntry]:
        """Secrets older than `than_s`, by id after `after` ("" from the start)."""
        ...

    async def shred(self, stream_id: str, *, shreddings: int | None = None) -> None:
        """Destroy the stream's data key and with it every secret of the stream. Harmless twice.

        With `shreddings` only if the key was made before the stream's so-many-th shredding.
        """
        ...

    async def rotate(self, *, limit: int) -> int:
        """Go over to the newest master key that this process was given: every data key is made
        under it from now on, and at most `limit` others are wrapped anew; how many were. 0: all
        are. Secrets, fingerprints and request digests stay as they are."""
        ...
