"""The vault in memory: same promises, same encryption, gone with the process. For tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kernel.errors import InvalidInput, NotFound

from registry.adapters.envelope import Envelope
from registry.ports.vault import VaultEntry


@dataclass(slots=True, kw_only=True)
class _Row:
    stream_id: str
    field: str
    sealed: bytes
    created_s: float
    used: bool = False


class MemoryVault:
    """`Vault` in two dicts. `clock` gives seconds."""

    def __init__(self, envelope: Envelope, clock: Callable[[], float] = time.monotonic) -> None:
        self._envelope = envelope
        self._clock = clock
        self._keys: dict[str, bytes] = {}
        self._rows: dict[str, _Row] = {}

    def fingerprint(self, *, stream_id: str, field: str, secret: bytes) -> bytes:
        return self._envelope.fingerprint(secret, stream_id=stream_id, field=field)

    async def put(self, *, secret_id: str, stream_id: str, field: str, secret: bytes) -> None:
        if secret_id in self._rows:
            raise InvalidInput("storing a secret: its id exists")
        wrapped_key = self._keys.setdefault(stream_id, self._envelope.new_data_key(stream_id))
        sealed = self._envelope.seal(
            secret,
            wrapped_key=wrapped_key,
            master_key_id=self._envelope.master_key_id,
            secret_id=secret_id,
            stream_id=stream_id,
            field=field,
        )
        self._rows[secret_id] = _Row(
            stream_id=stream_id, field=field, sealed=sealed, created_s=self._clock()
        )

    async def mark_used(self, secret_id: str) -> None:
        if row := self._rows.get(secret_id):
            row.used = True

    async def discard(self, secret_id: str) -> None:
        if (row := self._rows.get(secret_id)) and not row.used:
            del self._rows[secret_id]

    async def read(self, *, secret_id: str, stream_id: str, field: str) -> bytes:
        row = self._rows.get(secret_id)
        if row is None or (row.stream_id, row.field) != (stream_id, field):
            raise NotFound("the vault does not hold this secret: enter the credentials again")
        return self._envelope.open(
            row.sealed,
            wrapped_key=self._keys[stream_id],
            master_key_id=self._envelope.master_key_id,
            secret_id=secret_id,
            stream_id=stream_id,
            field=field,
        )

    async def older(self, *, than_s: float, after: str, limit: int) -> Sequence[VaultEntry]:
        before_s = self._clock() - than_s
        found = sorted(  # by id, as the database does
            (secret_id, row)
            for secret_id, row in self._rows.items()
            if secret_id > after and row.created_s < before_s
        )
        return [
            VaultEntry(secret_id=secret_id, stream_id=row.stream_id, used=row.used)
            for secret_id, row in found[:limit]
        ]

    async def shred(self, stream_id: str) -> None:
        self._keys.pop(stream_id, None)
        for secret_id in [key for key, row in self._rows.items() if row.stream_id == stream_id]:
            del self._rows[secret_id]
