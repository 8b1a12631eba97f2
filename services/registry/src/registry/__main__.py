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

from registry import bootstrap, tasks
from registry.settings import RegistrySettings


def main() -> None:
    """Parse, run, exit: 0 after a clean end, 1 for a refused task, 78 for wrong settings, 70 for a
    failure of the service."""
    parser = argparse.ArgumentParser(prog="registry", description=__doc__)
    choices = parser.add_subparsers(dest="task", title="tasks")
    choices.add_parser("serve", help="answer gRPC calls until SIGTERM (the default)")
    choices.add_parser("migrate", help="bring the database to this build's schema")
    first = choices.add_parser("first-admin", help="make the first admin; prints its key, once")
    first.add_argument("username")
    first.add_argument("email")
    choices.add_parser(
        "rotate-master-key", help="wrap every data key of the vault by the new master key"
    )
    forget = choices.add_parser("forget-secrets", help="empty a vault whose master key is lost")
    forget.add_argument(
        "--every-secret", action="store_true", required=True, help="yes, destroy all of them"
    )
    archive = choices.add_parser("archive", help="move the log's oldest partitions to files")
    archive.add_argument(
        "--below", type=int, required=True, metavar="POSITION", help="no event after it is moved"
    )
    archive.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="for the files")
    given = parser.parse_args()
    sys.exit(run_service(_task(given), service=bootstrap.SERVICE))


def _task(given: argparse.Namespace) -> Callable[[asyncio.Event], Awaitable[None]]:
    async def serve(stop: asyncio.Event) -> None:
        await bootstrap.serve(load_settings(RegistrySettings), stop, started=_spare_collections)

    async def once(stop: asyncio.Event) -> None:
        try:
            said = await _TASKS[given.task](load_settings(RegistrySettings), given)
        except EventflowsError as error:
            raise SystemExit(error.message) from error
        if said:
            print(said)
        stop.set()  # done, as asked

    return once if given.task in _TASKS else serve


async def _migrate(settings: RegistrySettings, _given: argparse.Namespace) -> str:
    await tasks.migrate(settings)
    return ""


async def _first_admin(settings: RegistrySettings, given: argparse.Namespace) -> str:
    return await tasks.first_admin(settings, name=given.username, email=given.email)


async def _rotate_master_key(settings: RegistrySettings, _given: argparse.Namespace) -> str:
    wrapped = await tasks.rotate_master_key(settings)
    return f"the vault uses the new master key; {wrapped} data keys were wrapped anew"


async def _forget_secrets(settings: RegistrySettings, _given: argparse.Namespace) -> str:
    await tasks.forget_secrets(settings)
    return ""


async def _archive(settings: RegistrySettings, given: argparse.Namespace) -> str:
    files = await tasks.archive(settings, below=given.below, folder=given.to)
    return "\n".join(str(file) for file in files)


_TASKS: dict[str, Callable[[RegistrySettings, argparse.Namespace], Awaitable[str]]] = {
    "migrate": _migrate,
    "first-admin": _first_admin,
    "rotate-master-key": _rotate_master_key,
    "forget-secrets": _forget_secrets,
    "archive": _archive,
}
"""Each gives what it prints."""


def _spare_collections(_server: object) -> None:
    """The catalog stays: no collection need walk it again (a quarter of the time of a replay)."""
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    main()
