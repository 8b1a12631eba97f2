"""Broker credentials: what the log says of them, and reading those that it names now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from catalog.catalog import Catalog
from catalog.events import ConnectionCreated, ConnectionUpdated, Event, FlowCreated, SecretRef
from kernel.errors import AlreadyExists, NotFound

from registry.application.projection import Projection, recorded
from registry.application.streams import Loaded, Streams
from registry.domain import aggregates, connection, flow
from registry.domain.aggregates import Aggregate
from registry.ports.event_store import READ_EVENTS_MAX, Archived, EventStore
from registry.ports.vault import Vault

CREDENTIALS_FIELD = "credentials"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What an aggregate's state says of its secrets: the one that it names now, and how often they
    were shredded. Not `known`: the log has nothing of it."""

    secret_id: str = ""
    shreddings: int = 0
    deleted: bool = False
    known: bool = True


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
            reference = state.now.credentials
        case flow.Flow():
            reference = flow.credentials_of(state)
        case None:
            return Standing(known=False)
        case _:
            return Standing()
    secret_id = "" if reference is None or state.deleted else reference.secret_id
    return Standing(secret_id=secret_id, shreddings=state.shreddings, deleted=state.deleted)


async def load_holder(streams: Streams, stream_id: str) -> tuple[Aggregate, Loaded]:
    """The connection or flow whose secrets these are, as it stands in the log. A connection at
    version 0 when the log has nothing of it. Raises NotFound for another kind, Unavailable."""
    for aggregate in (aggregates.CONNECTION, aggregates.FLOW):
        try:
            return aggregate, await streams.load(aggregate, stream_id, fresh=True)
        except AlreadyExists:
            continue
    raise NotFound("there is no connection or listener with this stream_id")


async def was_named(store: EventStore, stream_id: str, secret_id: str) -> bool:
    """Did an event of the stream ever name the secret? Also true when its first events are in the
    archive only: then nobody can tell. Raises Unavailable."""
    version = 0
    while True:
        try:
            page = await store.read_stream(stream_id, after_version=version)
        except Archived:
            return True
        references = [reference_in(recorded(stored).event) for stored in page]
        if any(one is not None and one.secret_id == secret_id for one in references):
            return True
        if len(page) < READ_EVENTS_MAX:
            return False
        version = page[-1].version


class Credentials:
    """Answers the router's question for the secret behind a reference."""

    def __init__(self, *, vault: Vault, projection: Projection, streams: Streams) -> None:
        self._vault = vault
        self._projection = projection
        self._streams = streams

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
        aggregate, _ = await load_holder(self._streams, stream_id)
        return aggregate

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
