"""`python -m tests.bench.instant_endpoint PORT`: answers every POST at once, as a runner would.

It stands in the runner's place in the router's benchmark, so that the figure shows the router. It
understands HTTP/1.1 with Content-Length and keep-alive, all that its callers send.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

BODY = b'{"result":0,"metadata":{"content_type":"json","duration":0.0}}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"X-Eventflows-Outcome: succeeded\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY
_LENGTH = b"content-length:"


class InstantAnswer(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._waiting = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        assert self._transport is not None
        while (end := self._waiting.find(b"\r\n\r\n")) >= 0:
            head = self._waiting[:end].lower()
            at = head.find(_LENGTH)
            length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._waiting) < end + 4 + length:
                return
            self._waiting = self._waiting[end + 4 + length :]
            self._transport.write(ANSWER)


async def main(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(InstantAnswer, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
