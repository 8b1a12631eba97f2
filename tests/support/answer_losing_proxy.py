"""A TCP proxy that loses an answer: what was asked is done, and who asked never hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

READ_BYTES_MAX = 64 * 1024


class AnswerLosingProxy:
    """Forwards connections to one server; `dsn_through` gives an address that goes through it."""

    def __init__(self, dsn: str) -> None:
        at = urlsplit(dsn)
        self._host, self._port = at.hostname or "", at.port or 0
        self._listening: asyncio.Server | None = None
        self._lose_next = False
        self._connections: set[asyncio.Task[None]] = set()
        self.answers_lost = 0

    def lose_next_answer(self) -> None:
        """Whatever the server says next on any connection is lost, and that connection with it."""
        self._lose_next = True

    def dsn_through(self, dsn: str) -> str:
        assert self._listening is not None
        at = urlsplit(dsn)
        port = self._listening.sockets[0].getsockname()[1]
        return at._replace(netloc=f"{at.username}:{at.password}@127.0.0.1:{port}").geturl()

    async def start(self) -> None:
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._listening is not None
        self._listening.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connect(client, to_client))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _connect(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Both ways of one connection, until one of them ends."""
        server, to_server = await asyncio.open_connection(self._host, self._port)
        ways = [
            asyncio.create_task(_forward(client, to_server)),
            asyncio.create_task(self._answer(server, to_client)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for writer in (to_client, to_server):
                writer.close()
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)

    async def _answer(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while chunk := await server.read(READ_BYTES_MAX):
                if self._lose_next:
                    self._lose_next = False
                    self.answers_lost += 1
                    return
                to_client.write(chunk)
                await to_client.drain()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(READ_BYTES_MAX):
            writer.write(chunk)
            await writer.drain()


@asynccontextmanager
async def answer_losing_proxy(dsn: str) -> AsyncIterator[AnswerLosingProxy]:
    """One that listens, before the server of this address."""
    proxy = AnswerLosingProxy(dsn)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
