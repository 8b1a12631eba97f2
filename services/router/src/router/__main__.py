"""`python -m router`: one worker of the router, until SIGTERM."""

from __future__ import annotations

import mode.loop

# Before anything imports faust: its consumer runs on a thread with a loop of its own.
mode.loop.use("uvloop")

import asyncio  # noqa: E402
import sys  # noqa: E402

from servicekit.lifecycle import run_service  # noqa: E402
from servicekit.logs import configure_logs  # noqa: E402
from servicekit.settings import load_settings  # noqa: E402

from router.bootstrap import Router, open_router  # noqa: E402
from router.entrypoints.faust_app import create_app, run_worker  # noqa: E402
from router.entrypoints.log_flood import hold_back_repeats  # noqa: E402
from router.entrypoints.start_heap import StartHeap  # noqa: E402
from router.settings import RouterSettings  # noqa: E402

SERVICE = "router"


async def serve(stop: asyncio.Event) -> None:
    """Run a worker until `stop`. Raises SettingsError, and whatever makes a part crash."""
    settings = load_settings(RouterSettings)
    configure_logs(service=SERVICE, level=settings.log_level)
    hold_back_repeats()
    async with open_router(settings) as router:
        if await _prepared(router, stop):
            app = create_app(router.config, ownership=router.ownership, hooks=router.hooks)
            parts = {**router.parts, "start heap": StartHeap(router.follower.caught_up)}
            await run_worker(app, parts=parts, stop=stop, drain=router.drain)


async def _prepared(router: Router, stop: asyncio.Event) -> bool:
    """Wait until the internal topics exist; False when `stop` came first."""
    preparing = asyncio.create_task(router.prepare())
    asked = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({preparing, asked}, return_when=asyncio.FIRST_COMPLETED)
        if preparing.done():
            await preparing  # raises what went wrong
        return preparing.done() and not stop.is_set()
    finally:
        for task in (preparing, asked):
            task.cancel()
        await asyncio.wait({preparing, asked})


if __name__ == "__main__":
    sys.exit(run_service(serve, service=SERVICE))
