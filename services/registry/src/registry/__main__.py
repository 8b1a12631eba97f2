"""`python -m registry` serves; `migrate` brings the database up to date; `first-admin` begins;
`rotate-master-key` changes the vault's key, `forget-secrets` empties a vault whose key is lost;
`archive` moves the log's oldest partitions to files."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from kernel.errors import EventflowsError
from servicekit.lifecycle import run_service
from servicekit.settings import load_settings

from registry import bootstrap
from registry.settings import RegistrySettings


def main() -> None:
    """Parse, run, exit: 0 after a clean end, 78 for wrong settings, 70 for a failure."""
    parser = argparse.ArgumentParser(prog="registry", description=__doc__)
    tasks = parser.add_subparsers(dest="task", title="tasks")
    tasks.add_parser("serve", help="answer gRPC calls until SIGTERM (the default)")
    tasks.add_parser("migrate", help="bring the database to this build's schema")
    first = tasks.add_parser("first-admin", help="make the first admin; prints its key, once")
    first.add_argument("username")
    first.add_argument("email")
    tasks.add_parser(
        "rotate-master-key", help="wrap every data key of the vault by the new master key"
    )
    forget = tasks.add_parser("forget-secrets", help="empty a vault whose master key is lost")
    forget.add_argument(
        "--every-secret", action="store_true", required=True, help="yes, destroy all of them"
    )
    archive = tasks.add_parser("archive", help="move the log's oldest partitions to files")
    archive.add_argument(
        "--below", type=int, required=True, metavar="POSITION", help="no event after it is moved"
    )
    archive.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="for the files")
    given = parser.parse_args()
    sys.exit(run_service(_task(given), service=bootstrap.SERVICE))


def _task(given: argparse.Namespace) -> Callable[[asyncio.Event], Awaitable[None]]:
    async def serve(stop: asyncio.Event) -> None:
        await bootstrap.serve(load_settings(RegistrySettings), stop, started=_spare_collections)

    async def migrate(stop: asyncio.Event) -> None:
        await bootstrap.migrate(load_settings(RegistrySettings))
        stop.set()  # done, as asked

    async def first_admin(stop: asyncio.Event) -> None:
        settings = load_settings(RegistrySettings)
        try:
            key = await bootstrap.first_admin(settings, name=given.username, email=given.email)
        except EventflowsError as error:
            raise SystemExit(error.message) from error
        print(key)
        stop.set()  # done, as asked

    async def rotate_master_key(stop: asyncio.Event) -> None:
        settings = load_settings(RegistrySettings)
        try:
            wrapped = await bootstrap.rotate_master_key(settings)
        except EventflowsError as error:
            raise SystemExit(error.message) from error
        print(f"the vault uses the new master key; {wrapped} data keys were wrapped anew")
        stop.set()  # done, as asked

    async def forget_secrets(stop: asyncio.Event) -> None:
        settings = load_settings(RegistrySettings)
        try:
            await bootstrap.forget_secrets(settings)
        except EventflowsError as error:
            raise SystemExit(error.message) from error
        stop.set()  # done, as asked

    async def archive(stop: asyncio.Event) -> None:
        settings = load_settings(RegistrySettings)
        try:
            files = await bootstrap.archive(settings, below=given.below, folder=given.to)
        except EventflowsError as error:
            raise SystemExit(error.message) from error
        for file in files:
            print(file)
        stop.set()  # done, as asked

    tasks = {
        "migrate": migrate,
        "first-admin": first_admin,
        "rotate-master-key": rotate_master_key,
        "forget-secrets": forget_secrets,
        "archive": archive,
    }
    return tasks.get(given.task, serve)


def _spare_collections(_server: object) -> None:
    """The catalog stays: no collection need walk it again (a quarter of the time of a replay)."""
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    main()
