"""`python -m registry` serves; `python -m registry migrate` brings the database up to date."""

from __future__ import annotations

import argparse
import asyncio
import sys

from servicekit.lifecycle import run_service
from servicekit.settings import load_settings

from registry import bootstrap
from registry.settings import RegistrySettings


def main() -> None:
    """Parse, run, exit: 0 after a clean end, 78 for wrong settings, 70 for a failure."""
    parser = argparse.ArgumentParser(prog="registry", description=__doc__)
    parser.add_argument("task", nargs="?", choices=["serve", "migrate"], default="serve")
    task = parser.parse_args().task
    sys.exit(run_service(_migrate if task == "migrate" else _serve, service=bootstrap.SERVICE))


async def _serve(stop: asyncio.Event) -> None:
    await bootstrap.serve(load_settings(RegistrySettings), stop)


async def _migrate(stop: asyncio.Event) -> None:
    await bootstrap.migrate(load_settings(RegistrySettings))
    stop.set()  # done, as asked


if __name__ == "__main__":
    main()
