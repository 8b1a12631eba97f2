"""An export goes into the log: exactly the same chain, in an empty log or where one ends.

What is imported was verified whole before (form, chain, trailer, every kind of event known). It
goes in by steps of whole batches, each a transaction in which the database checks everything again,
so an import that was interrupted goes on at the head when it is sent again. Unique names are found
by folding the aggregates. Commands are not part of an export: their ids are forgotten.

Price: the state of every stream of the export is in memory while it is imported.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, Final

from catalog import codec
from catalog.catalog import Catalog
from catalog.metadata import metadata_of
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from google.protobuf.message import DecodeError
from kernel.errors import InvalidInput, Overloaded, StateForbids
from sealedlog import export_file
from sealedlog.export_check import MalformedExport, events_of
from sealedlog.export_records import Manifest
from sealedlog.rows import Event as ExportedEvent
from sealedlog.rows import Seal as ExportedSeal
from sealedlog.secret_sealing import IMPORT_RECIPIENT, opened_secret
from sealedlog.verification import ChainPoint

from registry.application.credentials import credentials_of, load_holder, standing_in
from registry.application.log_head import LogHead
from registry.application.projection import Projection, recorded
from registry.application.stream_states import AGGREGATES, KeptState
from registry.application.streams import Streams
from registry.ports.archive import IMPORT_EVENTS_MAX, ImportStep, LogArchive
from registry.ports.event_store import BATCH_BYTES_MAX, EventStore, Head, Seal, StoredEvent
from registry.ports.vault import Vault

RETRY_AFTER_S: Final = 10.0
AHEAD_MAX: Final = timedelta(seconds=60)
"""So far the log's time may be ahead of the clock; the database has the same limit."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import added, and where the log ends now."""

    events: int
    batches: int
    head: Head
    streams_without_credentials: int


class Importer:
    """Imports with an operator's rights, one export at a time."""

    def __init__(
        self,
        *,
        store: EventStore,
        archive: LogArchive,
        vault: Vault,
        projection: Projection,
        streams: Streams,
        head: LogHead,
    ) -> None:
        self._store = store
        self._archive = archive
        self._vault = vault
        self._projection = projection
        self._streams = streams
        self._head = head
        self._busy = False

    async def run(
        self, file: BinaryIO, manifest: Manifest, private_key: X25519PrivateKey
    ) -> Imported:
        """Import a verified file; its secrets were sealed for `private_key`.

        Raises InvalidInput (an event or secret of it is none), StateForbids (the log is not where
        the export can go on; somebody else appends), Overloaded (another import runs).
        """
        if self._busy:
            raise Overloaded("another import runs: wait for it", retry_after_s=RETRY_AFTER_S)
        self._busy = True
        try:
            if manifest.recipient not in {"", IMPORT_RECIPIENT}:
                raise InvalidInput(
                    f"the secrets of this export are sealed for {manifest.recipient}: open them "
                    "with that key and seal them for this import, or leave them out"
                )
            before = await self._store.head()
            await asyncio.to_thread(_check_goes_on, file, manifest, before)
            catalog = await self._catalog_at(before.position)
            secrets = await asyncio.to_thread(_rehearsed, file, catalog, private_key)
            await self._rehearse_names(file, before)
            events, batches = await self._append(file, before)
            if events:
                self._head.advance(manifest.last.position)
            await self._projection.reach(manifest.last.position)
            await self._keep_secrets(secrets)
            after = await self._store.head()
            _log.warning(
                "an export was imported", extra={"events": events, "secrets": len(secrets)}
            )
            return Imported(
                events=events,
                batches=batches,
                head=after,
                streams_without_credentials=await self._without_credentials(),
            )
        finally:
            self._busy = False

    async def _catalog_at(self, position: int) -> Catalog:
        """A copy of the catalog, to rehearse the import on."""
        await self._projection.reach(position)
        catalog = Catalog.of(self._projection.catalog.image())
        if catalog.position != position:
            raise StateForbids("somebody else appends to the log: import when nobody does")
        return catalog

    async def _rehearse_names(self, file: BinaryIO, before: Head) -> None:
        """Every step as it will be appended, since the database finds a fault only when it gets
        there, and then the steps before it are written. Raises MalformedExport."""
        folding = _Folding(self._streams)
        taken: dict[str, str] = {}
        after = ChainPoint(position=before.position, hash=before.hash)
        async for some in _steps(file, before.position):
            step = await folding.step(after, some)
            for name in step.released:
                taken.pop(name, None)
            if not taken.keys().isdisjoint(step.claims):
                first, (last, _) = some[0][0], some[-1]
                raise _not_ours(
                    f"one of the events {first.first_position} to {last.last_position} takes a "
                    "name that is taken"
                )
            taken |= step.claims
            if some[-1][0].time > datetime.now(UTC) + AHEAD_MAX:
                raise InvalidInput(
                    f"the export has events of the future ({some[-1][0].time.isoformat()}): "
                    "set the clock of this registry right, or wait"
                )

    async def _append(self, file: BinaryIO, before: Head) -> tuple[int, int]:
        """What follows the head of the file; how many events and batches."""
        folding = _Folding(self._streams)
        after = ChainPoint(position=before.position, hash=before.hash)
        events = batches = 0
        async for some in _steps(file, before.position):
            step = await folding.step(after, some)
            await self._archive.import_batches(step)
            last, _ = some[-1]
            after = ChainPoint(position=last.last_position, hash=last.hash)
            events += sum(len(those) for _, those in some)
            batches += len(some)
        return events, batches

    async def _keep_secrets(self, secrets: Sequence[tuple[pb.ExportedSecret, bytes]]) -> None:
        """Those that the log names now, under our own master key. Harmless twice."""
        for secret, plain in secrets:
            reference = credentials_of(self._projection.catalog, secret.stream_id)
            if reference is None or reference.secret_id != secret.secret_id:
                _log.warning(
                    "a secret of the export is not named by the log any more",
                    extra={"stream_id": secret.stream_id},
                )
                continue
            if not await self._holds(secret.secret_id, secret.stream_id):
                await self._vault.put(
                    secret_id=secret.secret_id,
                    stream_id=secret.stream_id,
                    field=secret.field,
                    secret=plain,
                    shreddings=await self._shreddings(secret.stream_id),
                )
            await self._vault.mark_used(secret.secret_id)

    async def _shreddings(self, stream_id: str) -> int:
        _, loaded = await load_holder(self._streams, stream_id)
        return standing_in(loaded.state).shreddings

    async def _without_credentials(self) -> int:
        catalog = self._projection.catalog
        streams = [connection.connection_id for connection in catalog.connections()]
        streams += [flow.flow_id for flow in catalog.flows()]
        missing = 0
        for stream_id in streams:
            reference = credentials_of(catalog, stream_id)
            if reference is not None:
                missing += not await self._holds(reference.secret_id, stream_id)
        return missing

    async def _holds(self, secret_id: str, stream_id: str) -> bool:
        return await self._vault.holds(secret_id=secret_id, stream_id=stream_id)


class _Folding:
    """Follows every stream of the export, to know which unique names it takes and gives back."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._states: dict[str, KeptState] = {}

    async def step(
        self, after: ChainPoint, batches: Sequence[tuple[Seal, Sequence[StoredEvent]]]
    ) -> ImportStep:
        """One step, with the names that are taken and free after it."""
        claims: dict[str, str] = {}
        released: set[str] = set()
        for _, events in batches:
            for event in events:
                kept = await self._before(event)
                decoded = recorded(event).event
                change = kept.aggregate.claims(kept.state, [decoded])
                for name in change.released:
                    if claims.pop(name, None) is None:
                        released.add(name)
                for name in change.added:
                    if name in claims:
                        raise _not_ours(f"event {event.position} takes a name that is taken")
                    claims[name] = event.stream_id
                self._states[event.stream_id] = KeptState(
                    aggregate=kept.aggregate,
                    version=event.version,
                    state=kept.aggregate.decider.evolve(kept.state, decoded),
                )
        return ImportStep(after=after, batches=batches, claims=claims, released=frozenset(released))

    async def _before(self, event: StoredEvent) -> KeptState:
        kept = self._states.get(event.stream_id)
        if kept is not None:
            return kept
        aggregate = AGGREGATES[event.category]
        if event.version == 1:
            return KeptState(aggregate=aggregate, version=0, state=aggregate.decider.initial)
        loaded = await self._streams.load(aggregate, event.stream_id, fresh=True)
        return KeptState(aggregate=aggregate, version=loaded.version, state=loaded.state)


def _rehearsed(
    file: BinaryIO, catalog: Catalog, private_key: X25519PrivateKey
) -> list[tuple[pb.ExportedSecret, bytes]]:
    """Take the events into a copy of the catalog, since every follower will have to; the secrets,
    opened. Raises InvalidInput for what cannot be taken in."""
    secrets = []
    file.seek(0)
    for record in export_file.read_records(file):
        if record.WhichOneof("record") == "batch":
            for event in events_of(record.batch):
                _check_known(event)
                if event.position > catalog.position:
                    _take_in(catalog, event)
        elif record.WhichOneof("record") == "secret":
            secrets.append((record.secret, opened_secret(record.secret, private_key)))
    return secrets


def _not_ours(problem: str) -> MalformedExport:
    return MalformedExport(f"{problem}: this export was not made by a registry")


def _take_in(catalog: Catalog, event: ExportedEvent) -> None:
    try:
        catalog.apply(recorded(_stored(event)))
    except Exception as error:  # a file made by hand may break the fold in any way
        raise _not_ours(
            f"event {event.position} does not follow from what came before it"
        ) from error


def _check_known(event: ExportedEvent) -> None:
    try:
        decoded = codec.decode(event.data)
        metadata_of(events_pb2.Metadata.FromString(event.metadata))
    except (ValueError, DecodeError) as error:
        raise MalformedExport(
            f"event {event.position} ({event.name}) is of a newer build: upgrade this registry"
        ) from error
    category = event.name.partition(".")[0]
    aggregate = AGGREGATES.get(category)
    if (
        aggregate is None
        or codec.stored_name(decoded) != event.name
        or not isinstance(decoded, aggregate.kinds)
    ):
        raise MalformedExport(
            f"event {event.position} is named {event.name} and is another: export again"
        )
    if getattr(decoded, f"{category}_id") != event.stream_id:
        raise _not_ours(f"event {event.position} is in the stream of something else")


def _check_goes_on(file: BinaryIO, manifest: Manifest, head: Head) -> None:
    """Raise StateForbids unless the log ends where the export begins, or at a batch inside it."""
    if head.position < manifest.after.position:
        raise StateForbids(
            f"the log ends at {head.position} and the export begins after "
            f"{manifest.after.position}: import the exports before it first"
        )
    if head.position > manifest.last.position:
        raise StateForbids(
            f"the log goes on to {head.position}, beyond the end of the export "
            f"({manifest.last.position}): there is nothing to import"
        )
    if head.position == manifest.after.position:
        known = manifest.after.hash
    else:
        file.seek(0)
        known = next(
            (
                seal.hash
                for seal, _ in export_file.read_batches(file)
                if seal.last_position == head.position
            ),
            b"",
        )
    if known != head.hash:
        raise StateForbids(
            f"the log up to {head.position} is not the beginning of the export: it is another "
            "log, import into an empty one"
        )


async def _steps(
    file: BinaryIO, after: int
) -> AsyncIterator[Sequence[tuple[Seal, Sequence[StoredEvent]]]]:
    """The batches after a position, some at a time; the file is read beside the event loop."""
    file.seek(0)
    steps = _some_at_a_time(file, after)
    while some := await asyncio.to_thread(next, steps, None):
        yield some


def _some_at_a_time(
    file: BinaryIO, after: int
) -> Iterator[list[tuple[Seal, Sequence[StoredEvent]]]]:
    some: list[tuple[Seal, Sequence[StoredEvent]]] = []
    events = size_bytes = 0
    for seal, exported in export_file.read_batches(file):
        if seal.last_position <= after:
            continue
        added_bytes = sum(len(event.data) + len(event.metadata) for event in exported)
        if some and (
            events + len(exported) > IMPORT_EVENTS_MAX or size_bytes + added_bytes > BATCH_BYTES_MAX
        ):
            yield some
            some, events, size_bytes = [], 0, 0
        some.append((_seal(seal), [_stored(event) for event in exported]))
        events += len(exported)
        size_bytes += added_bytes
    if some:
        yield some


def _seal(seal: ExportedSeal) -> Seal:
    return Seal(
        first_position=seal.first_position,
        last_position=seal.last_position,
        hash=seal.hash,
        time=seal.time,
    )


def _stored(event: ExportedEvent) -> StoredEvent:
    return StoredEvent(
        position=event.position,
        stream_id=event.stream_id,
        version=event.version,
        name=event.name,
        time=event.time,
        data=event.data,
        metadata=event.metadata,
    )
