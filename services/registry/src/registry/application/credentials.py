"""Broker credentials: what the log says of them, and reading those that it names now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from catalog.catalog import Catalog
from catalog.events import (
    ConnectionCreated,
    ConnectionCredentialsShredded,
    ConnectionDeleted,
    ConnectionUpdated,
    Event,
    FlowCreated,
    FlowCredentialsShredded,
    FlowDeleted,
    SecretRef,
)
from kernel.errors import NotFound

from registry.application.projection import Projection, recorded
from registry.domain import aggregates, connection, flow
from registry.domain.aggregates import Aggregate
from registry.ports.event_store import READ_EVENTS_MAX, EventStore
from registry.ports.vault import Vault

CREDENTIALS_FIELD = "credentials"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretHistory:
    """What a stream's events say of its secrets.

    `named`: ids of all secrets that they named since the last shredding, oldest first; `standing`:
    the one that they name now.
    """

    named: tuple[str, ...] = ()
    standing: str = ""
    shreddings: int = 0
    deleted: bool = False

    def after(self, event: Event) -> SecretHistory:
        """The history with one more event."""
        match event:
            case ConnectionCreated() | ConnectionUpdated() | FlowCreated():
                reference = reference_in(event)
                if reference is None:
                    return replace(self, standing="")
                others = tuple(one for one in self.named if one != reference.secret_id)
                return replace(
                    self, named=(*others, reference.secret_id), standing=reference.secret_id
                )
            case ConnectionCredentialsShredded() | FlowCredentialsShredded():
                return SecretHistory(shreddings=self.shreddings + 1)
            case ConnectionDeleted() | FlowDeleted():
                return replace(self, named=(), standing="", deleted=True)
            case _:
                return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The secret of an aggregate as its state has it, and how often its secrets were shredded."""

    secret_id: str = ""
    shreddings: int = 0


def reference_in(event: Event) -> SecretRef | None:
    """The secret that an event names."""
    match event:
        case ConnectionCreated() | ConnectionUpdated():
            return event.credentials
        case FlowCreated():
            return None if event.channel is None else event.channel.credentials
        case _:
            return None


def standing_in(state: Any) -> Standing:
    """What an aggregate's state says; nothing for kinds without secrets."""
    match state:
        case connection.Connection():
            reference = None if state.deleted else state.now.credentials
        case flow.Flow():
            reference = None if state.deleted else flow.credentials_of(state)
        case _:
            return Standing()
    secret_id = "" if reference is None else reference.secret_id
    return Standing(secret_id=secret_id, shreddings=state.shreddings)


def history_of(events: Iterable[Event]) -> SecretHistory:
    """Of a whole stream, from its first event."""
    history = SecretHistory()
    for event in events:
        history = history.after(event)
    return history


async def read_history(store: EventStore, stream_id: str) -> SecretHistory:
    """Of a stream as it stands in the log. Raises Unavailable."""
    events: list[Event] = []
    version = 0
    while page := await store.read_stream(stream_id, after_version=version):
        events += [recorded(stored).event for stored in page]
        version = page[-1].version
        if len(page) < READ_EVENTS_MAX:
            break
    return history_of(events)


class Credentials:
    """Answers the router's question for the secret behind a reference."""

    def __init__(self, *, vault: Vault, projection: Projection, store: EventStore) -> None:
        self._vault = vault
        self._projection = projection
        self._store = store

    async def read(self, *, stream_id: str, secret_id: str) -> bytes:
        """The secret in clear. Raises NotFound unless a connection or listener names it now; with
        code SECRET_GONE when it does, but the vault does not hold it."""
        if not self._is_named(stream_id, secret_id):
            await self._projection.reach_head()
            if not self._is_named(stream_id, secret_id):
                raise self._not_named(stream_id)
        return await self._vault.read(
            secret_id=secret_id, stream_id=stream_id, field=CREDENTIALS_FIELD
        )

    async def lost_secret_id(self, stream_id: str) -> str:
        """The secret that a connection names and the vault does not hold; empty when all is well.

        Raises Unavailable.
        """
        await self._projection.reach_head()
        reference = credentials_of(self._projection.catalog, stream_id)
        if reference is None:
            return ""
        held = await self._vault.holds(secret_id=reference.secret_id, stream_id=stream_id)
        return "" if held else reference.secret_id

    async def aggregate_of(self, stream_id: str) -> Aggregate:
        """What kind of thing has these secrets. Raises NotFound, Unavailable."""
        first: Sequence[Any] = await self._store.read_stream(stream_id, limit=1)
        for aggregate in (aggregates.CONNECTION, aggregates.FLOW):
            if first and first[0].category == aggregate.category:
                return aggregate
        raise NotFound("there is no connection or listener with this stream_id")

    def _is_named(self, stream_id: str, secret_id: str) -> bool:
        reference = credentials_of(self._projection.catalog, stream_id)
        return reference is not None and reference.secret_id == secret_id

    def _not_named(self, stream_id: str) -> NotFound:
        catalog = self._projection.catalog
        known = catalog.connection(stream_id) or catalog.flow(stream_id)
        if known is not None and credentials_of(catalog, stream_id) is None:
            return NotFound(
                "this connection or listener has no credentials, they were shredded or never "
                "entered: enter them"
            )
        return NotFound("no connection or listener has this secret: read the catalog again")


def credentials_of(catalog: Catalog, stream_id: str) -> SecretRef | None:
    """What a connection or listener has in the vault; None for one without, or deleted."""
    if (known := catalog.connection(stream_id)) is not None:
        return known.credentials
    if (wire := catalog.flow(stream_id)) is not None and wire.channel is not None:
        return wire.channel.credentials
    return None
