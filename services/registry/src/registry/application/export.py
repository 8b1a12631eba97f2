"""The log as records of an export, whole batches, straight from the rows; with a key, its secrets.

What an export holds is not checked here: whoever writes it down checks it (`ExportWriter`), so a
log that is not intact never becomes a file.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from catalog.catalog import Catalog
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput, NotFound, StateForbids, Unavailable
from sealedlog.export_records import ExportBuilder
from sealedlog.secret_sealing import sealed_secret
from sealedlog.verification import BEGINNING, ChainPoint

from registry.application.credentials import CREDENTIALS_FIELD, credentials_of
from registry.application.projection import Projection
from registry.application.sealed_batches import SealedEvents, seals_between
from registry.ports.archive import LogParts
from registry.ports.event_store import (
    COMMANDS_PER_BATCH_MAX,
    EVENTS_PER_COMMAND_MAX,
    Archived,
    EventStore,
)
from registry.ports.vault import Vault

BATCH_EVENTS_MAX: Final = COMMANDS_PER_BATCH_MAX * EVENTS_PER_COMMAND_MAX
ALIGNED_TRIES_MAX: Final = 20
"""To meet the catalog at the end of a batch, in a log that grows."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """Who may open the secrets of an export."""

    name: str
    key: X25519PublicKey


class SecretExport:
    """The secrets that the configuration names, sealed for a recipient."""

    def __init__(self, *, store: EventStore, vault: Vault, projection: Projection) -> None:
        self._store = store
        self._vault = vault
        self._projection = projection

    async def named_at_end_of_batch(self) -> tuple[int, Mapping[str, str]]:
        """The end of a batch at the head, and of all that have credentials there their secrets."""
        await self._projection.reach_head()
        for _ in range(ALIGNED_TRIES_MAX):
            position = self._projection.catalog.position
            references = dict(_references(self._projection.catalog))
            if position == 0:
                return 0, {}
            (seal,) = await self._store.seals(position - 1, limit=1)
            if seal.last_position == position:
                return position, references
            await self._projection.reach(seal.last_position)
        raise Unavailable("the log grows too fast to meet its end with secrets: export again")

    async def sealed(
        self, references: Mapping[str, str], recipient: Recipient
    ) -> AsyncIterator[pb.ExportedSecret]:
        """Those that the vault holds. Raises StateForbids for one that does not open."""
        for stream_id, secret_id in references.items():
            try:
                plain = await self._vault.read(
                    secret_id=secret_id, stream_id=stream_id, field=CREDENTIALS_FIELD
                )
            except NotFound:
                _log.warning("an export lacks a secret", extra={"stream_id": stream_id})
                continue
            yield sealed_secret(
                plain,
                recipient.key,
                secret_id=secret_id,
                stream_id=stream_id,
                field=CREDENTIALS_FIELD,
            )


class Exporter:
    """Exports from a log, with `secrets` from its vault too. Any number at once."""

    def __init__(
        self, *, store: EventStore, parts: LogParts, secrets: SecretExport | None = None
    ) -> None:
        self._store = store
        self._parts = parts
        self._secrets = secrets

    async def begin(self, after_position: int) -> ChainPoint:
        """The point to export after. Raises InvalidInput, Archived."""
        if after_position < 0:
            raise InvalidInput("after_position must be 0 or more")
        archived = await self._parts.archived()
        if archived is not None and after_position < archived.sealed.position:
            raise Archived(archived.sealed.position)
        return await self._end_of_batch("after_position", after_position)

    async def records(
        self, after: ChainPoint, *, to_position: int = 0, recipient: Recipient | None = None
    ) -> AsyncIterator[pb.ExportRecord]:
        """Header, batches, secrets, trailer. `to_position` 0: up to the head at the call.

        Raises InvalidInput; StateForbids when the log is not whole: verify it.
        """
        references: Mapping[str, str] = {}
        if recipient is not None:
            if to_position or self._secrets is None:
                raise InvalidInput("an export with secrets goes up to the head: leave to_position")
            to_position, references = await self._secrets.named_at_end_of_batch()
        last = await self._end(after, to_position)
        builder = ExportBuilder()
        yield builder.header(
            after,
            exported_at=datetime.now(UTC),
            recipient=recipient.name if recipient else "",
        )
        async for record in self._batches(builder, after, last):
            yield record
        if recipient is not None and self._secrets is not None:
            async for secret in self._secrets.sealed(references, recipient):
                yield builder.secret(secret)
            _audit(builder, recipient, last)
        yield builder.trailer(last)

    async def _end(self, after: ChainPoint, to_position: int) -> ChainPoint:
        head = await self._store.head()
        if to_position == 0:
            last = ChainPoint(position=head.position, hash=head.hash)
        elif 0 < to_position <= head.position:
            last = await self._end_of_batch("to_position", to_position)
        else:
            raise InvalidInput(f"to_position must be between 1 and the head, {head.position}")
        if last.position < after.position:
            raise InvalidInput(f"the log ends at {last.position}, before after_position")
        return last

    async def _batches(
        self, builder: ExportBuilder, after: ChainPoint, last: ChainPoint
    ) -> AsyncIterator[pb.ExportRecord]:
        events = SealedEvents(self._store, after.position)
        async for seal in seals_between(self._store, after.position, last.position):
            count = seal.last_position - seal.first_position + 1
            if not 0 < count <= BATCH_EVENTS_MAX:
                raise StateForbids(
                    f"the seal of events {seal.first_position} to {seal.last_position} is none: "
                    "verify the log"
                )
            batch = [event async for event in events.up_to(seal.last_position)]
            if len(batch) != count:
                raise StateForbids(
                    f"events {seal.first_position} to {seal.last_position} are not complete: "
                    "verify the log"
                )
            for record in builder.batch(seal, batch):
                yield record

    async def _end_of_batch(self, name: str, position: int) -> ChainPoint:
        if position == 0:
            return BEGINNING
        seals = await self._store.seals(position - 1, limit=1)
        if not seals or seals[0].last_position != position:
            raise InvalidInput(
                f"{name} must be the end of a batch of the log, and {position} is not"
            )
        return ChainPoint(position=position, hash=seals[0].hash)


def _audit(builder: ExportBuilder, recipient: Recipient, last: ChainPoint) -> None:
    _log.warning(
        "secrets were exported",
        extra={
            "recipient": recipient.name,
            "recipient_key": recipient.key.public_bytes_raw().hex(),
            "secrets": builder.tally.secrets,
            "position": last.position,
        },
    )


def _references(catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Stream and secret of everything that has credentials now."""
    streams = [connection.connection_id for connection in catalog.connections()]
    streams += [flow.flow_id for flow in catalog.flows()]
    for stream_id in streams:
        if (reference := credentials_of(catalog, stream_id)) is not None:
            yield stream_id, reference.secret_id
