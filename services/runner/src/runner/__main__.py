"""`python -m runner` serves until SIGTERM."""

from __future__ import annotations

import asyncio
import sys

from servicekit.lifecycle import run_service
from servicekit.settings import load_settings

from runner import bootstrap
from runner.settings import RunnerSettings


def main() -> None:
    """Exit codes: 0 after a clean end, 78 for wrong settings, 70 for a failure."""
    sys.exit(run_service(_serve, service=bootstrap.SERVICE))


async def _serve(stop: asyncio.Event) -> None:
    await bootstrap.serve(load_settings(RunnerSettings), stop)


if __name__ == "__main__":
    main()
