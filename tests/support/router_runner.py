"""A runner on a real socket that answers as it is told, and notes what it was asked."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from multidict import CIMultiDict


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    path: str
    query: str
    headers: CIMultiDict[str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response; `hang`: none, until the runner is closed; `cut`: the connection is closed."""

    status: int = 200
    body: bytes = b'{"result": 1, "metadata": {"content_type": "json", "duration": 0.1}}'
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    cut: bool = False


class Runner:
    """`answers` are given one by one; when they are used up, successes."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: deque[Answer] = deque()
        self.url = ""
        self.hanging = asyncio.Event()
        self._closing = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(
            Asked(
                path=request.path,
                query=request.query_string,
                headers=CIMultiDict(request.headers),
                body=await request.read(),
            )
        )
        answer = self.answers.popleft() if self.answers else Answer()
        if answer.hang:
            self.hanging.set()
            await self._closing.wait()
        if answer.cut and request.transport is not None:
            request.transport.abort()
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    def close(self) -> None:
        self._closing.set()


@asynccontextmanager
async def running_runner() -> AsyncIterator[Runner]:
    """Serve on a free port of loopback."""
    runner = Runner()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/algo/{owner}/{name}/{version}", runner.answer)
    server = web.AppRunner(app, shutdown_timeout=1)
    await server.setup()
    site = web.TCPSite(server, "127.0.0.1", 0)
    await site.start()
    host, port = server.addresses[0][:2]
    runner.url = f"http://{host}:{port}"
    try:
        yield runner
    finally:
        runner.close()
        await server.cleanup()
