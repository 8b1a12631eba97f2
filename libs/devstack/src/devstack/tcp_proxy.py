"""A TCP proxy that can cut a network without closing anything, as a cable that is pulled out does.

While it is cut, both sides keep their sockets, new connections are taken and lead nowhere, and no
byte goes through; `heal` lets go on what waited. It runs in the loop of whoever started it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from devstack.ports import free_ports

READ_BYTES_MAX = 64 * 1024
CLOSE_TIMEOUT_S = 5.0

Tap = Callable[[bytes], None]


class TcpProxy:
    """Forwards 127.0.0.1:`port` to another port of this machine.

    Its own port is known before it is started and before there is a target, since servers have to
    advertise it. `taps` is called for each connection and gives two functions that see every chunk
    as it goes through, to the server and back; they must not raise.
    """

    def __init__(self, *, taps: Callable[[], tuple[Tap, Tap]] | None = None) -> None:
        (self.port,) = free_ports(1)
        self.target_port: int | None = None
        self.connections = 0
        self._taps = taps or (lambda: (_unseen, _unseen))
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def is_cut(self) -> bool:
        return not self._whole.is_set()

    def cut(self) -> None:
        """From now on nothing goes through, either way; nobody is told. Harmless twice."""
        self._whole.clear()

    def heal(self) -> None:
        """What waited goes through, in order. Harmless twice."""
        self._whole.set()

    async def start(self) -> None:
        """Listen. Connections that come before `target_port` is set are closed at once."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Close all connections. Harmless twice."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connect(client, to_client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Both ways of one connection, until one of them ends."""
        self.connections += 1
        to_server: asyncio.StreamWriter | None = None
        try:
            await self._whole.wait()
            if self.target_port is None:
                return
            server, to_server = await asyncio.open_connection("127.0.0.1", self.target_port)
            seen_going, seen_coming = self._taps()
            async with asyncio.TaskGroup() as ways:
                going = self._forward(client, to_server, seen_going)
                ways.create_task(going)
                ways.create_task(self._forward(server, to_client, seen_coming))
        except* OSError:
            pass  # the server is away, or one side has gone: the other side is closed below
        finally:
            self.connections -= 1
            for writer in (to_client, to_server):
                if writer is not None:
                    writer.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Tap
    ) -> None:
        """One way. Its end ends the other way too: our clients and servers close both at once."""
        while chunk := await reader.read(READ_BYTES_MAX):
            await self._whole.wait()
            seen(chunk)
            writer.write(chunk)
            await writer.drain()
        await self._whole.wait()
        with suppress(OSError):
            writer.write_eof()
        raise ConnectionResetError("one side has ended")


def _unseen(chunk: bytes) -> None:
    """Nobody looks."""
