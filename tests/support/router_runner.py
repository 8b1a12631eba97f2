"""A runner on a real socket that answers as it is told, and notes what it was asked."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web
from multidict import CIMultiDict
from router.adapters.algorithm_target import AlgorithmTarget
from router.adapters.http_client import HttpPool
from router.domain.flow_spec import FlowSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BODY_BYTES_MAX = 64 * 1024 * 1024


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
        self.answered: list[Asked] = []
        self._changed = asyncio.Condition()
        self._closing = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(
            path=request.raw_path.partition("?")[0],
            query=request.query_string,
            headers=CIMultiDict(request.headers),
            body=await request.read(),
        )
        self.asked.append(asked)
        answer = self.answers.popleft() if self.answers else Answer()
        if answer.hang:
            self.hanging.set()
            await self._closing.wait()
        if answer.cut and request.transport is not None:
            request.transport.abort()
        async with self._changed:
            self.answered.append(asked)
            self._changed.notify_all()
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition on what was asked and answered."""
        async with self._changed:
            await self._changed.wait_for(condition)

    def close(self) -> None:
        self._closing.set()


def algorithm_target(spec: FlowSpec, pool: HttpPool, *, token: str = "t") -> AlgorithmTarget:
    """A target whose catalog is at position 9."""
    return AlgorithmTarget(spec, pool=pool, token=token, position=lambda: 9, now=lambda: NOW)


@asynccontextmanager
async def running_runner(*, body_bytes_max: int = BODY_BYTES_MAX) -> AsyncIterator[Runner]:
    """Serve on a free port of loopback; a larger body is answered with 413."""
    runner = Runner()
    app = web.Application(client_max_size=body_bytes_max)
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
