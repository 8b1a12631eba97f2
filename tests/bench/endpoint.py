"""The endpoint that stands in the runner's place: nginx where it is installed, else our own.

nginx cannot be slow on purpose or keep notes, so ours serves where that is asked for.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from devstack import Process, free_ports

from tests.bench.instant_endpoint import BODY

ASK_TIMEOUT_S = 10.0
LOOK_S = 0.02
SILENCE_MAX_S = 60.0
"""Longer than any take-over: whoever says nothing for so long will not say anything."""
_NGINX = """\
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 32m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location = /count {{ stub_status; }}
    location / {{
      default_type application/json; add_header X-Eventflows-Outcome succeeded;
      return 200 '{body}';
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """How many requests came until `at_s` of the monotonic clock."""

    count: int
    at_s: float


@dataclass(slots=True, kw_only=True)
class Answering:
    """A running endpoint. `program`: nginx or ours."""

    program: str
    url: str
    process: Process
    session: aiohttp.ClientSession
    _asked: int = 0

    def cpu_s(self) -> float:
        """CPU seconds that it has used, its children included."""
        root = psutil.Process(self.process.pid)
        times = [one.cpu_times() for one in (root, *root.children(recursive=True))]
        return sum(float(one.user + one.system) for one in times)

    async def count(self) -> Moment:
        """Requests since `forget`, or since nginx started."""
        text = (await self._ask("count")).decode()
        if self.program == "nginx":  # "Active connections…\nserver accepts…\n 1 1 7 \n…"
            requests = int(text.split("\n")[2].split()[2])
            return Moment(count=requests - self._asked, at_s=time.monotonic())
        return Moment(count=int(json.loads(text)["count"]), at_s=time.monotonic())

    async def until(self, count: int, *, timeout_s: float) -> Moment:
        """Wait for so many requests. Raises TimeoutError, also when none comes for a while."""
        newest = moment = await self.count()
        deadline_s = moment.at_s + timeout_s
        while moment.count < count:
            if moment.count != newest.count:
                newest = moment
            if moment.at_s > min(deadline_s, newest.at_s + SILENCE_MAX_S):
                raise TimeoutError(f"{moment.count} requests of {count}, and no more come")
            await asyncio.sleep(LOOK_S)
            moment = await self.count()
        return moment

    async def delay_s(self) -> float:
        """How long an answer took it, on average."""
        return float(json.loads(await self._ask("count"))["delay_s"])

    async def forget(self) -> None:
        """Count from 0 again, and keep no old notes. Ours only."""
        await self._ask("forget")

    async def notes(self) -> list[tuple[int, float]]:
        """Numbers of records in the order in which they came, and when, in wall-clock seconds."""
        found = array("q")
        found.frombytes(await self._ask("notes"))
        return [(n, at / 1e9) for n, at in zip(found[::2], found[1::2], strict=True)]

    async def _ask(self, what: str) -> bytes:
        self._asked += 1
        async with self.session.get(f"{self.url}/{what}") as answer:
            return await answer.read()


@asynccontextmanager
async def running_endpoint(
    *, delay_ms: float = 0.0, notes: bool = False
) -> AsyncIterator[Answering]:
    """One that answers, on a free port."""
    (port,) = free_ports(1)
    nginx = None if delay_ms or notes else shutil.which("nginx")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = [sys.executable, "-m", "tests.bench.instant_endpoint", str(port)]
        ours += [f"--delay-ms={delay_ms}", *(["--notes"] if notes else [])]
        process = Process.spawn(
            _nginx(nginx, folder, port) if nginx else ours,
            name="endpoint",
            log_path=folder / "endpoint.log",
        )
        timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            endpoint = Answering(
                program="nginx" if nginx else "instant_endpoint.py",
                url=f"http://127.0.0.1:{port}",
                process=process,
                session=session,
            )
            try:
                await process.wait_ready(endpoint.count)
                yield endpoint
            finally:
                await process.terminate()


def _nginx(program: str, folder: Path, port: int) -> list[str]:
    conf = folder / "nginx.conf"
    conf.write_text(_NGINX.format(folder=folder, port=port, body=BODY.decode()))
    return [program, "-c", str(conf), "-p", str(folder), "-e", str(folder / "error.log")]
