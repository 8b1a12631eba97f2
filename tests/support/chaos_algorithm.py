"""`python -m tests.support.chaos_algorithm PORT RUN_LOG`: the endpoint that the fault suite runs.

It takes 0 to 30 ms, fails for 2 % of the records (always for the same ones, so that each record has
one right fate), and writes down every run that it really makes. `POST /mode/overloaded` lets it
answer 429 until `POST /mode/usual`. A record may be poison: `{"n": 1, "poison": "hang"}`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import TextIO

from aiohttp import web

WORK_S_MAX = 0.03
FAILS_EVERY = 50
HANG_S = 6.0
ALGORITHM_ERROR = 422
OVERLOADED = 429


def fails(number: int) -> bool:
    """Is it one of the 2 %?"""
    return number % FAILS_EVERY == FAILS_EVERY - 1


class Algorithm:
    """Keeps its mode and its log."""

    def __init__(self, log: TextIO) -> None:
        self._log = log
        self._overloaded = False
        self._random = random.Random()

    async def set_mode(self, request: web.Request) -> web.Response:
        self._overloaded = request.match_info["mode"] == "overloaded"
        return web.Response()

    async def run(self, request: web.Request) -> web.Response:
        """One run. Its line stands in the log before it does anything."""
        if self._overloaded:
            return web.Response(status=OVERLOADED, headers={"Retry-After": "1"})
        record = json.loads(await request.read())
        self._note(request, record)
        poison = record.get("poison")
        if poison == "hang":
            await asyncio.sleep(HANG_S)
        if poison == "cut" and request.transport is not None:
            request.transport.abort()
        await asyncio.sleep(self._random.uniform(0, WORK_S_MAX))
        number = int(record["n"])
        if fails(number) or poison == "fail":
            return web.Response(status=ALGORITHM_ERROR, text="this record is one of the 2 %")
        return web.json_response({"n": number})

    def _note(self, request: web.Request, record: dict[str, str]) -> None:
        line = {
            "at_s": time.monotonic(),
            "algorithm": request.match_info["name"],
            "n": record["n"],
            "key": record["key"],
            "request_id": request.headers.get("X-Eventflows-Request-Id", ""),
        }
        self._log.write(json.dumps(line) + "\n")


async def main(port: int, run_log: Path) -> None:
    """Serve for ever."""
    with run_log.open("a", buffering=1) as log:
        algorithm = Algorithm(log)
        app = web.Application()
        app.router.add_post("/run/{name}", algorithm.run)
        app.router.add_post("/mode/{mode}", algorithm.set_mode)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
