"""A server that answers as a script says, byte by byte if need be, and a client's plain request."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from router.adapters.http_client import HttpPool
from router.adapters.http_request import request_prefix

Script = Callable[["Peer"], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """Read a request's head."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> tuple[bytes, bytes]:
        """Read a request: head and body."""
        head = await self.head()
        (line,) = [each for each in head.split(b"\r\n") if each.startswith(b"Content-Length: ")]
        return head, await self.reader.readexactly(int(line.split(b": ")[1]))

    async def say(self, *pieces: bytes) -> None:
        """Send, piece by piece, each in a packet of its own as far as that can be had.

        Raises ConnectionResetError once the other side has gone.
        """
        for piece in pieces:
            if self.writer.is_closing():
                raise ConnectionResetError
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    def half_close(self) -> None:
        """Send nothing more, and go on reading."""
        self.writer.write_eof()

    def reset(self) -> None:
        """End with RST."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until_closed(self) -> None:
        """Wait until the other side closes or resets."""
        with suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass


class ScriptedServer:
    """`scripts` are for the first, second… connection; the last one is for all that follow."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self.connections = 0
        self.open: set[asyncio.Task[None]] = set()
        self.origin = ""

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection."""
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        serving = asyncio.create_task(_serve(script, reader, writer))
        self.open.add(serving)
        serving.add_done_callback(self.open.discard)

    async def until_all_closed(self) -> None:
        """Wait until no connection is open at this end."""
        while self.open:
            await asyncio.wait(set(self.open))


@asynccontextmanager
async def scripted(*scripts: Script) -> AsyncIterator[ScriptedServer]:
    """Listen on loopback; at the end every script that still runs is cancelled."""
    server = ScriptedServer(*scripts)
    listening = await asyncio.start_server(server.accept, "127.0.0.1", 0)
    server.origin = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        await asyncio.sleep(0)  # what was accepted comes now
        for task in set(server.open):
            task.cancel()
        if server.open:
            await asyncio.wait(set(server.open))


async def _serve(
    script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await script(Peer(reader, writer))
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def head_of(pool: HttpPool, path: str, length_bytes: int) -> bytes:
    """The head of a POST with nothing but what it must have."""
    return request_prefix(
        "POST", path, {"Host": pool.host_header, "Content-Length": str(length_bytes)}
    ) + (b"\r\n")


async def always_ok(peer: Peer) -> None:
    """Answer every request with 200 and `ok`."""
    while True:
        await peer.request()
        await peer.say(OK)
