"""The vault in memory: same promises, same encryption, gone with the process. For tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from catalog.errors import SECRET_GONE
from kernel.errors import InvalidInput, NotFound, VersionConflict

from registry.adapters.envelope import Envelope
from registry.ports.vault import VaultEntry


@dataclass(slots=True, kw_only=True)
class _Key:
    shreddings: int
    master_key_id: bytes
    wrapped_key: bytes


@dataclass(slots=True, kw_only=True)
class _Row:
    stream_id: str
    field: str
    sealed: bytes
    created_s: float
    used: bool = False
    superseded_s: float | None = None


class MemoryVault:
    """`Vault` in two dicts. `clock` gives seconds."""

    def __init__(self, envelope: Envelope, clock: Callable[[], float] = time.monotonic) -> None:
        self._envelope = envelope
        self._clock = clock
        self._master_key_id = envelope.master_key_id
        self._digest_keys = envelope.digest_keys(
            envelope.derived_digest_keys(), master_key_id=envelope.master_key_id
        )
        self._keys: dict[str, _Key] = {}
        self._rows: dict[str, _Row] = {}

    def fingerprint(self, *, stream_id: str, field: str, secret: bytes) -> bytes:
        return self._digest_keys.fingerprint(secret, stream_id=stream_id, field=field)

    def request_digest(self, secret: bytes) -> bytes:
        return self._digest_keys.request_digest(secret)

    async def put(
        self, *, secret_id: str, stream_id: str, field: str, secret: bytes, shreddings: int = 0
    ) -> None:
        await self.shred(stream_id, shreddings=shreddings)
        if secret_id in self._rows:
            raise InvalidInput("storing a secret: its id exists")
        key = self._keys.get(stream_id) or _Key(
            shreddings=shreddings,
            master_key_id=self._master_key_id,
            wrapped_key=self._envelope.new_data_key(stream_id, master_key_id=self._master_key_id),
        )
        if key.shreddings > shreddings:
            raise VersionConflict("its secrets were shredded meanwhile: read it, then decide again")
        self._keys[stream_id] = key
        sealed = self._envelope.seal(
            secret,
            wrapped_key=key.wrapped_key,
            master_key_id=key.master_key_id,
            secret_id=secret_id,
            stream_id=stream_id,
            field=field,
        )
        self._rows[secret_id] = _Row(
            stream_id=stream_id, field=field, sealed=sealed, created_s=self._clock()
        )

    async def mark_used(self, secret_id: str) -> None:
        if row := self._rows.get(secret_id):
            row.used, row.superseded_s = True, None

    async def supersede(self, secret_id: str) -> None:
        if (row := self._rows.get(secret_id)) and row.superseded_s is None:
            row.used, row.superseded_s = True, self._clock()

    async def holds(self, *, secret_id: str, stream_id: str) -> bool:
        row = self._rows.get(secret_id)
        if row is None or row.stream_id != stream_id:
            return False
        if row.superseded_s is not None:
            row.superseded_s = self._clock()
        return True

    async def discard(self, secret_id: str) -> None:
        if (row := self._rows.get(secret_id)) and not row.used:
            del self._rows[secret_id]

    async def destroy_superseded(self, secret_id: str, *, than_s: float) -> bool:
        row = self._rows.get(secret_id)
        if row is None or row.superseded_s is None or row.superseded_s >= self._clock() - than_s:
            return False
        del self._rows[secret_id]
        return True

    async def read(self, *, secret_id: str, stream_id: str, field: str) -> bytes:
        row = self._rows.get(secret_id)
        if row is None or (row.stream_id, row.field) != (stream_id, field):
            raise NotFound(
                "the vault does not hold this secret: enter the credentials again", code=SECRET_GONE
            )
        key = self._keys[stream_id]
        return self._envelope.open(
            row.sealed,
            wrapped_key=key.wrapped_key,
            master_key_id=key.master_key_id,
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
            VaultEntry(
                secret_id=secret_id,
                stream_id=row.stream_id,
                used=row.used,
                superseded=row.superseded_s is not None,
                shreddings=self._keys[row.stream_id].shreddings,
            )
            for secret_id, row in found[:limit]
        ]

    async def shred(self, stream_id: str, *, shreddings: int | None = None) -> None:
        key = self._keys.get(stream_id)
        if key is None or (shreddings is not None and key.shreddings >= shreddings):
            return
        del self._keys[stream_id]
        for secret_id in [one for one, row in self._rows.items() if row.stream_id == stream_id]:
            del self._rows[secret_id]

    async def rotate(self, *, limit: int) -> int:
        newest = self._master_key_id = self._envelope.newest_key_id
        old = [stream for stream, key in self._keys.items() if key.master_key_id != newest][:limit]
        for stream_id in old:
            key = self._keys[stream_id]
            key.wrapped_key = self._envelope.wrap_anew(
                key.wrapped_key, master_key_id=key.master_key_id, stream_id=stream_id
            )
            key.master_key_id = newest
        return len(old)
