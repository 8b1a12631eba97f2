"""What is done once and by hand on the registry's database: the tasks of `python -m registry`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from prometheus_client import CollectorRegistry
from servicekit.database_address import read_dsn
from servicekit.logs import configure_logs
from servicekit.settings import SettingsError

from registry.adapters import migrations
from registry.adapters.envelope import Envelope
from registry.adapters.migrations import Login
from registry.adapters.postgres_archive import PostgresArchive, PostgresLogParts
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.adapters.postgres_pool import PostgresPool
from registry.adapters.postgres_snapshots import PostgresSnapshots
from registry.adapters.postgres_timeline import PostgresTimeline
from registry.adapters.postgres_vault import PostgresVault
from registry.application.archive import Archiver
from registry.application.export import Exporter
from registry.application.first_admin import create_first_admin
from registry.bootstrap import SERVICE, Registry
from registry.settings import RegistrySettings

ROTATION_PAGE_MAX = 200
"""Data keys wrapped in one transaction; commands that need one of them wait so long."""

_log = logging.getLogger(__name__)


async def archive(settings: RegistrySettings, *, below: int, folder: Path) -> Sequence[Path]:
    """Move the log's oldest partitions, as far as they end at or below a position, to files.

    Raises SettingsError, InvalidInput, NotFound, StateForbids, Unavailable.
    """
    configure_logs(service=SERVICE, level=settings.log_level)
    if settings.ops_dsn_file is None:
        raise SettingsError(
            ["EVENTFLOWS_REGISTRY_OPS_DSN_FILE is missing: `archive` needs an operator's address"]
        )
    log_dsn, ops_dsn = read_dsn(settings.database_dsn_file), read_dsn(settings.ops_dsn_file)
    await migrations.check_schema(log_dsn)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(PostgresEventStore(log_dsn))
        pool = await stack.enter_async_context(PostgresPool(log_dsn))
        parts = PostgresLogParts(pool)
        archiver = Archiver(
            store=store,
            parts=parts,
            archive=await stack.enter_async_context(PostgresArchive(ops_dsn)),
            snapshots=PostgresSnapshots(pool),
            exporter=Exporter(store=store, parts=parts),
        )
        return await archiver.run(below=below, folder=folder)


async def first_admin(settings: RegistrySettings, *, name: str, email: str) -> str:
    """Make the first admin of an empty cluster, straight on the database; returns its key.

    Raises SettingsError, Unavailable, StateForbids when an admin key exists, InvalidInput.
    """
    configure_logs(service=SERVICE, level=settings.log_level)
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
            collector=CollectorRegistry(),
            snapshots=PostgresSnapshots(pool),
            timeline=PostgresTimeline(pool),
            parts=PostgresLogParts(pool),
        )
        await registry.projection.begin()
        await stack.enter_async_context(registry.running())
        return await create_first_admin(
            registry.commands, registry.projection.catalog, name=name, email=email
        )


async def rotate_master_key(settings: RegistrySettings) -> int:
    """Go over to the new master key: wrap every data key anew; how many were. Safe to repeat, also
    after it died half-way, and while registries run that were given both keys.

    Raises SettingsError, Unavailable, StateForbids.
    """
    configure_logs(service=SERVICE, level=settings.log_level)
    if settings.new_master_key_file is None:
        raise SettingsError(
            [
                "EVENTFLOWS_REGISTRY_NEW_MASTER_KEY_FILE is missing: "
                "`rotate-master-key` needs the key to go over to"
            ]
        )
    envelope = Envelope.load(settings.master_key_file, settings.new_master_key_file)
    wrapped = 0
    async with PostgresVault(read_dsn(settings.vault_dsn_file), envelope) as vault:
        while count := await vault.rotate(limit=ROTATION_PAGE_MAX):
            wrapped += count
            _log.info("data keys were wrapped anew", extra={"so_far": wrapped})
    _log.info(
        "the vault uses the new master key",
        extra={"wrapped": wrapped, "master_key_id": envelope.newest_key_id.hex()},
    )
    return wrapped


async def forget_secrets(settings: RegistrySettings) -> None:
    """Empty a vault whose master key is lost, so that the registry starts with another one.

    Raises SettingsError, Unavailable.
    """
    configure_logs(service=SERVICE, level=settings.log_level)
    await PostgresVault(
        read_dsn(settings.vault_dsn_file), Envelope.load(settings.master_key_file)
    ).forget_everything()
    _log.warning("every secret of the vault was destroyed: enter all credentials again")


async def migrate(settings: RegistrySettings) -> int:
    """Bring the database to this build's schema; how many files were applied."""
    configure_logs(service=SERVICE, level=settings.log_level)
    if settings.owner_dsn_file is None:
        raise SettingsError(
            [
                "EVENTFLOWS_REGISTRY_OWNER_DSN_FILE is missing: "
                "`migrate` needs an administrator's address"
            ]
        )
    logins = [
        Login(role="log_app", dsn=read_dsn(settings.database_dsn_file)),
        Login(role="vault_app", dsn=read_dsn(settings.vault_dsn_file)),
    ]
    if settings.ops_dsn_file is not None:
        logins.append(Login(role="log_ops", dsn=read_dsn(settings.ops_dsn_file)))
    applied = await migrations.migrate(read_dsn(settings.owner_dsn_file), logins)
    _log.info("the schema is up to date", extra={"applied": applied})
    return applied
