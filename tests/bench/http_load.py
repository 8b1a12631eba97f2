"""`python -m tests.bench.http_load URL SECONDS`: GETs over 32 connections; prints the rate.

The key comes by standard input. Raw sockets and a fixed request keep the generator cheaper than
what it measures; it checks every answer's status.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import uvloop

CONNECTIONS = 32
_OK = b"HTTP/1.1 200"
_LENGTH = b"content-length:"


class Caller(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it was answered."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._waiting = b""
        self._transport: asyncio.WriteTransport | None = None
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        end = self._waiting.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._waiting[:end].lower()
        if not self._waiting.startswith(_OK):
            raise SystemExit(f"refused: {self._waiting[:300]!r}")
        at = head.find(_LENGTH) + len(_LENGTH)
        length = int(head[at:].split(b"\r\n", 1)[0])
        if len(self._waiting) < end + 4 + length:
            return
        self._waiting = b""
        self.answers += 1
        assert self._transport is not None
        self._transport.write(self._request)


async def main(url: str, duration_s: float) -> None:
    """Load the server and print answers per second."""
    at = urlsplit(url)
    key = sys.stdin.readline().strip()
    request = (
        f"GET {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\nAuthorization: Simple {key}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    assert at.hostname is not None
    assert at.port is not None
    callers = []
    for _ in range(CONNECTIONS):
        _, caller = await loop.create_connection(lambda: Caller(request), at.hostname, at.port)
        callers.append(caller)
    before, started_s = sum(c.answers for c in callers), time.monotonic()
    await asyncio.sleep(duration_s)
    rate = (sum(c.answers for c in callers) - before) / (time.monotonic() - started_s)
    if not rate:
        raise SystemExit("no answer at all")
    print(rate)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], float(sys.argv[2])))
