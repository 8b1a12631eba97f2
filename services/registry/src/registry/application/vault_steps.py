"""The vault's side of a command: what is stored before the log is written, what follows after.

The log decides. A crash between two steps leaves the vault behind it, never ahead in a way that
counts: a secret that the log names was stored before, and what it does not name is swept up later
(`upkeep`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from catalog.events import (
    ConnectionCredentialsShredded,
    ConnectionDeleted,
    Event,
    FlowCredentialsShredded,
    FlowDeleted,
)
from kernel.errors import StateForbids, Unavailable, VersionConflict

from registry.application.credentials import reference_in, standing_in, was_named
from registry.application.streams import Streams
from registry.domain.aggregates import Aggregate
from registry.ports.event_store import EventStore
from registry.ports.vault import Vault

SECRET_DESTROYED = 9006

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """A secret that the command's event will name."""

    secret_id: str
    field: str
    plain: bytes

    def __repr__(self) -> str:
        return f"NewSecret(secret_id={self.secret_id!r})"


class VaultSteps:
    """What one command does to the vault: `secure`, then one of `follow`, `ask_the_log`, `drop`.

    All but `secure` come after the outcome and never fail it: what cannot be done is left for the
    sweep.
    """

    def __init__(
        self,
        *,
        vault: Vault,
        store: EventStore,
        streams: Streams,
        aggregate: Aggregate,
        stream_id: str,
        secret: NewSecret | None,
    ) -> None:
        self._vault = vault
        self._store = store
        self._streams = streams
        self._aggregate = aggregate
        self._stream_id = stream_id
        self._secret = secret
        self._stored_for: int | None = None

    async def secure(self, state: Any, events: Sequence[Event]) -> bool:
        """See to it that the vault holds what the events newly name. May come again, for another
        decision. False: the stream was shredded after `state`, decide again on a fresh one.

        Raises StateForbids when a secret of an earlier version was destroyed, Unavailable.
        """
        standing = standing_in(state)
        references = [reference_in(event) for event in events]
        named = {one.secret_id for one in references if one is not None} - {standing.secret_id}
        if self._secret is not None and self._secret.secret_id in named:
            named.remove(self._secret.secret_id)
            if self._stored_for != standing.shreddings:
                try:
                    await self._put(self._secret, standing.shreddings)
                except VersionConflict:
                    return False
        for secret_id in sorted(named):
            if not await self._vault.holds(secret_id=secret_id, stream_id=self._stream_id):
                raise StateForbids(
                    "the credentials of that version were destroyed: enter new ones instead",
                    code=SECRET_DESTROYED,
                )
        return True

    async def follow(self, before: Any, after: Any, events: Sequence[Event]) -> None:
        """These events were stored and led from one state to the other."""
        try:
            await self._follow(before, after, events)
        except Unavailable as error:
            _log.warning("the vault lags behind the log", extra={"why": str(error)})

    async def ask_the_log(self) -> None:
        """The command had been stored: keep the secret if the log names it, else destroy it.

        The first try may have been our own: stored, but its answer was lost on the way.
        """
        if self._secret is None:
            return
        secret_id = self._secret.secret_id
        try:
            loaded = await self._streams.load(self._aggregate, self._stream_id, fresh=True)
            if secret_id == standing_in(loaded.state).secret_id:
                await self._vault.mark_used(secret_id)
            elif await was_named(self._store, self._stream_id, secret_id):
                await self._vault.supersede(secret_id)
            else:
                await self._vault.discard(secret_id)
        except Unavailable as error:
            _log.warning("a secret waits for the sweep", extra={"why": str(error)})

    async def drop(self) -> None:
        """Nothing was stored that names the secret."""
        if self._secret is None or self._stored_for is None:
            return
        try:
            await self._vault.discard(self._secret.secret_id)
        except Unavailable as error:
            _log.warning("a pending secret stays for the sweep", extra={"why": str(error)})

    async def _put(self, secret: NewSecret, shreddings: int) -> None:
        self._stored_for = shreddings  # also when this fails: it may have been stored
        await self._vault.put(
            secret_id=secret.secret_id,
            stream_id=self._stream_id,
            field=secret.field,
            secret=secret.plain,
            shreddings=shreddings,
        )

    async def _follow(self, before: Any, after: Any, events: Sequence[Event]) -> None:
        old, new = standing_in(before), standing_in(after)
        if any(isinstance(event, ConnectionDeleted | FlowDeleted) for event in events):
            return await self._vault.shred(self._stream_id)
        if any(
            isinstance(event, ConnectionCredentialsShredded | FlowCredentialsShredded)
            for event in events
        ):
            await self._vault.shred(self._stream_id, shreddings=new.shreddings)
        if new.secret_id != old.secret_id:
            if new.secret_id:
                await self._vault.mark_used(new.secret_id)
            if old.secret_id:
                await self._vault.supersede(old.secret_id)
        if self._secret is not None and self._secret.secret_id != new.secret_id:
            await self.drop()
        return None
