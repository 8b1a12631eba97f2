"""A process that follows the log and ends once its catalog has caught up: what a start costs.

`python -m tests.bench.follower_start <address> <token file> snapshot|replay`
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop
from catalog import snapshot
from catalog.follow import CatalogFollower
from servicekit.clock import monotonic_s
from servicekit.identity import ServiceToken
from servicekit.rpc import rpc_channel
from servicekit.settings import HostPort

CAUGHT_UP_TIMEOUT_S = 120.0


async def main(address: str, token_file: str, way: str) -> None:
    """Prints the flows of the catalog that it ends with."""
    if way == "replay":
        snapshot.FOLD = "0-of-another-build"  # type: ignore[misc]  # refused, as after an upgrade
    token = ServiceToken.load(Path(token_file))
    async with rpc_channel(HostPort.parse(address), token) as channel:
        follower = CatalogFollower(channel, clock=monotonic_s)
        following = asyncio.create_task(follower.run())
        async with asyncio.timeout(CAUGHT_UP_TIMEOUT_S):
            await follower.caught_up.wait()
        following.cancel()
        await asyncio.wait({following})
    print(len(follower.catalog.flows()), flush=True)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
