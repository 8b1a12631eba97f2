"""Puts the registry together. The only module that names adapters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Self

from prometheus_client import REGISTRY, CollectorRegistry
from servicekit.database_address import read_dsn
from servicekit.identity import Identities
from servicekit.logs import configure_logs
from servicekit.metrics import serve_metrics
from servicekit.rpc import RpcServer, RpcService, rpc_server

from registry.adapters import migrations
from registry.adapters.envelope import Envelope
from registry.adapters.memory_backward_reads import MemoryBackwardReads
from registry.adapters.memory_log_parts import MemoryLogParts
from registry.adapters.memory_log_sizes import MemoryLogSizing
from registry.adapters.memory_snapshots import MemorySnapshots
from registry.adapters.memory_timeline import MemoryTimeline
from registry.adapters.postgres_archive import PostgresArchive, PostgresLogParts
from registry.adapters.postgres_backward_reads import PostgresBackwardReads
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_log_sizes import PostgresLogSizing
from registry.adapters.postgres_pool import PostgresPool
from registry.adapters.postgres_snapshots import PostgresSnapshots
from registry.adapters.postgres_timeline import PostgresTimeline
from registry.adapters.postgres_vault import PostgresVault
from registry.application.commands import Commands
from registry.application.credentials import Credentials
from registry.application.diff import Diff
from registry.application.export import Exporter, SecretExport
from registry.application.group_commit import GroupCommit
from registry.application.history import History
from registry.application.importing import Importer
from registry.application.log_head import LogHead
from registry.application.log_pages import LogPages
from registry.application.metrics import RegistryMetrics
from registry.application.moments import Moments
from registry.application.partitions import LogWitness
from registry.application.projection import Projection
from registry.application.read_log import LogReading
from registry.application.revert import Reverts
from registry.application.snapshotter import Snapshotter
from registry.application.statistics import LogStatistics
from registry.application.streams import Streams
from registry.application.upkeep import PENDING_MAX_S, Upkeep
from registry.entrypoints.catalog_rpc import CatalogRpc
from registry.entrypoints.commands_rpc import CommandsRpc
from registry.entrypoints.credentials_rpc import CredentialsRpc
from registry.entrypoints.export_rpc import ExportRpc
from registry.entrypoints.log_rpc import LogRpc
from registry.entrypoints.reads_rpc import ReadsRpc
from registry.entrypoints.recorded import encoded_events
from registry.entrypoints.revert_rpc import RevertRpc
from registry.entrypoints.rpc import DESCRIPTOR, RegistryService, add_to_server
from registry.entrypoints.watch_rpc import WatchRpc
from registry.ports.archive import LogArchive, LogParts
from registry.ports.backward_reads import BackwardReads
from registry.ports.event_store import EventStore
from registry.ports.log_sizes import LogSizing
from registry.ports.snapshots import Snapshots
from registry.ports.timeline import Timeline
from registry.ports.vault import SUPERSEDED_KEPT_S, Vault
from registry.settings import RegistrySettings

SERVICE = "registry"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The application over a store and a vault. `run` its loops while it is used."""

    store: EventStore
    head: LogHead
    pages: LogPages
    projection: Projection
    group_commit: GroupCommit
    commands: Commands
    credentials: Credentials
    upkeep: Upkeep
    snapshots: Snapshots
    snapshotter: Snapshotter
    moments: Moments
    history: History
    reading: LogReading
    diff: Diff
    statistics: LogStatistics
    reverts: Reverts
    parts: LogParts
    witness: LogWitness
    exporter: Exporter
    importer: Importer | None
    metrics: RegistryMetrics

    @classmethod
    def over(
        cls,
        store: EventStore,
        vault: Vault,
        *,
        collector: CollectorRegistry,
        snapshots: Snapshots | None = None,
        timeline: Timeline | None = None,
        parts: LogParts | None = None,
        backward: BackwardReads | None = None,
        sizing: LogSizing | None = None,
        archive: LogArchive | None = None,
        pending_max_s: float = PENDING_MAX_S,
        superseded_kept_s: float = SUPERSEDED_KEPT_S,
    ) -> Self:
        """Put together; nothing runs yet. Without the ports of reading: those in memory.

        Without `archive`, which needs an operator's rights, nothing can be imported.
        """
        snapshots = snapshots or MemorySnapshots(store)
        timeline = timeline or MemoryTimeline(store)
        parts = parts or MemoryLogParts(store)
        metrics = RegistryMetrics(collector)
        head = LogHead(metrics=metrics)
        pages = LogPages(store, encode=encoded_events)
        projection = Projection(store, head, snapshots, pages)
        group_commit = GroupCommit(store, metrics=metrics, stored=head.advance)
        streams = Streams(store, parts=parts)
        commands = Commands(
            store=store,
            vault=vault,
            group_commit=group_commit,
            projection=projection,
            streams=streams,
        )
        moments = Moments(
            store=store, timeline=timeline, snapshots=snapshots, projection=projection
        )
        return cls(
            store=store,
            head=head,
            pages=pages,
            projection=projection,
            group_commit=group_commit,
            commands=commands,
            credentials=Credentials(vault=vault, projection=projection, streams=streams),
            upkeep=Upkeep(
                store=store,
                vault=vault,
                streams=streams,
                projection=projection,
                metrics=metrics,
                pending_max_s=pending_max_s,
                superseded_kept_s=superseded_kept_s,
            ),
            snapshots=snapshots,
            snapshotter=Snapshotter(
                store=store,
                snapshots=snapshots,
                projection=projection,
                head=head,
            ),
            moments=moments,
            history=History(store=store, moments=moments, projection=projection),
            reading=LogReading(
                store=store, backward=backward or MemoryBackwardReads(store), timeline=timeline
            ),
            diff=Diff(store=store, moments=moments, projection=projection),
            statistics=LogStatistics(
                store=store,
                timeline=timeline,
                snapshots=snapshots,
                sizing=sizing or MemoryLogSizing(store),
            ),
            reverts=Reverts(store=store, parts=parts, commands=commands),
            parts=parts,
            witness=LogWitness(store=store, parts=parts, head=head, metrics=metrics),
            exporter=Exporter(
                store=store,
                parts=parts,
                secrets=SecretExport(store=store, vault=vault, projection=projection),
            ),
            importer=None
            if archive is None
            else Importer(
                store=store,
                archive=archive,
                vault=vault,
                projection=projection,
                streams=streams,
                head=head,
            ),
            metrics=metrics,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
        """The loops run inside. None of them ends by itself: one that does has failed."""
        loops = [
            asyncio.create_task(self.group_commit.run(), name="group commit"),
            asyncio.create_task(self.head.follow(self.store), name="log head"),
            asyncio.create_task(self.projection.run(), name="projection"),
            asyncio.create_task(self.upkeep.run(), name="upkeep"),
            asyncio.create_task(self.snapshotter.run(), name="snapshots"),
            asyncio.create_task(self.witness.run(), name="log witness"),
        ]
        try:
            yield loops
        finally:
            self.head.close()
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops)
            await self.moments.close()


async def serve(
    settings: RegistrySettings,
    stop: asyncio.Event,
    *,
    started: Callable[[RpcServer], None] | None = None,
    collector: CollectorRegistry = REGISTRY,
) -> None:
    """Serve until `stop`; `started` hears when calls are answered.

    Raises SettingsError, Unavailable.
    """
    configure_logs(service=SERVICE, level=settings.log_level)
    identities = Identities.load(settings.identities_file)
    envelope = Envelope.load(settings.master_key_file, settings.new_master_key_file)
    log_dsn, vault_dsn = read_dsn(settings.database_dsn_file), read_dsn(settings.vault_dsn_file)
    await migrations.check_schema(log_dsn)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(PostgresEventStore(log_dsn))
        vault = await stack.enter_async_context(PostgresVault(vault_dsn, envelope))
        pool = await stack.enter_async_context(PostgresPool(log_dsn))
        registry = Registry.over(
            store,
            vault,
            collector=collector,
            snapshots=PostgresSnapshots(pool),
            timeline=PostgresTimeline(pool),
            parts=PostgresLogParts(pool),
            backward=PostgresBackwardReads(pool),
            sizing=PostgresLogSizing(pool),
            archive=await _archive(settings, stack),
        )
        await registry.projection.begin()
        stack.push_async_callback(registry.witness.at_stop)
        stack.push_async_callback(registry.snapshotter.at_stop)  # when nothing changes any more
        await stack.enter_async_context(serve_metrics(settings.metrics_listen, registry=collector))
        loops = await stack.enter_async_context(registry.running())
        server = rpc_server(
            listen=settings.listen,
            identities=identities,
            services=[rpc_service(registry, vault)],
        )
        await stack.enter_async_context(server)
        stack.callback(
            registry.head.close
        )  # ends the Watch streams before the server waits for them
        if started is not None:
            started(server)
        _log.info("serving", extra={"address": str(server.address)})
        await _stopped_or_failed(stop, loops)


async def _archive(settings: RegistrySettings, stack: AsyncExitStack) -> LogArchive | None:
    """The operator's side of the log; None without an operator's address."""
    if settings.ops_dsn_file is None:
        return None
    return await stack.enter_async_context(PostgresArchive(read_dsn(settings.ops_dsn_file)))


async def _stopped_or_failed(stop: asyncio.Event, loops: Sequence[asyncio.Task[None]]) -> None:
    """Return when asked to stop; raise the error of a loop that ends before that."""
    asked = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([asked, *loops], return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
    for loop in loops:
        if loop.done():
            loop.result()
            raise RuntimeError(f"the loop {loop.get_name()} ended by itself")


def rpc_service(registry: Registry, vault: Vault) -> RpcService:
    """The gRPC service over the application. Put together from parts: one a group of RPCs."""
    return RpcService(
        DESCRIPTOR,
        add_to_server,
        RegistryService(
            CommandsRpc(commands=registry.commands, vault=vault, credentials=registry.credentials),
            WatchRpc(pages=registry.pages, head=registry.head, metrics=registry.metrics),
            LogRpc(store=registry.store, parts=registry.parts),
            ExportRpc(exporter=registry.exporter, importer=registry.importer),
            CredentialsRpc(credentials=registry.credentials),
            CatalogRpc(moments=registry.moments, snapshots=registry.snapshots),
            ReadsRpc(
                history=registry.history,
                reading=registry.reading,
                diff=registry.diff,
                statistics=registry.statistics,
            ),
            RevertRpc(reverts=registry.reverts, keyed=vault.request_digest),
        ),
    )
