"""`python -m tests.bench.instant_endpoint PORT [--delay-ms N] [--order FILE]`: answers every POST.

It stands in the runner's place in the router's benchmarks, so that the figures show the router: it
is the cheapest server that we know to write. A request is found by two searches in its bytes, no
header is parsed but the length, one write answers all the requests that came together.

With a delay each answer comes so many milliseconds after its request. With `--order` the record key
and the body of each request are kept, one line each (`key base64, tab, body base64`), in the order
in which they came, and written when the process ends (SIGTERM).
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from base64 import b64encode
from pathlib import Path
from typing import Final, cast

import uvloop

BODY: Final = b'{"result":0,"metadata":{"content_type":"json","duration":0.0}}'
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"X-Eventflows-Outcome: succeeded\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY
_END: Final = b"\r\n\r\n"
_LENGTHS: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
_KEYS: Final = (b"\r\nX-Eventflows-Record-Key: ", b"\r\nx-eventflows-record-key: ")


class InstantAnswer(asyncio.Protocol):
    """One connection. Understands bodies with Content-Length, all that its callers send."""

    def __init__(self, *, delay_s: float, order: list[bytes] | None) -> None:
        self._delay_s = delay_s
        self._order = order
        self._waiting = b""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if self._waiting:
            data = self._waiting + data
        begin = count = 0
        while (end := data.find(_END, begin)) >= 0:
            whole = end + len(_END) + int(_value(data, _LENGTHS, begin, end) or b"0")
            if len(data) < whole:
                break
            if self._order is not None:
                key = _value(data, _KEYS, begin, end)
                body = b64encode(data[end + len(_END) : whole])
                self._order.append(key + b"\t" + body + b"\n")
            begin = whole
            count += 1
        self._waiting = data[begin:] if begin < len(data) else b""
        if not count:
            return
        if self._delay_s:
            self._loop.call_later(self._delay_s, self._answer, count)
        else:
            self._answer(count)

    def _answer(self, count: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(ANSWER if count == 1 else ANSWER * count)


def _value(data: bytes, names: tuple[bytes, bytes], begin: int, end: int) -> bytes:
    """A header's value, as our client or a client that writes names in lower case spells it."""
    for name in names:
        at = data.find(name, begin, end)
        if at >= 0:
            at += len(name)
            return data[at : data.find(b"\r\n", at, end + 2)]
    return b""


async def main(port: int, *, delay_s: float = 0.0, order_file: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    order: list[bytes] | None = None if order_file is None else []
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(
        lambda: InstantAnswer(delay_s=delay_s, order=order), "127.0.0.1", port, backlog=1_024
    )
    async with server:
        await stop.wait()
    if order_file is not None and order is not None:
        order_file.write_bytes(b"".join(order))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The cheapest endpoint there is.")
    parser.add_argument("port", type=int)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--order", type=Path, help="file for the order of arrival")
    given = parser.parse_args()
    uvloop.run(main(given.port, delay_s=given.delay_ms / 1_000, order_file=given.order))
