"""`python -m tests.bench.instant_endpoint PORT [--delay-ms N] [--notes]`: answers every POST.

It stands in the runner's place in the router's benchmarks, so that the figures show the router: it
is the cheapest server that we know to write. A request is found by two searches in its bytes, no
header is parsed but the length, one write answers all the requests that came together.

With a delay each answer comes so many milliseconds after its request. With `--notes` the number of
each record (`{"n":17,…`) and the time at which it came are kept. `GET /count` tells how many came
and how long answers took, `GET /notes` the notes, `GET /forget` begins anew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from array import array
from typing import Final, cast

import uvloop

BODY: Final = b'{"result":0,"metadata":{"content_type":"json","duration":0.0}}'
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"X-Eventflows-Outcome: succeeded\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY
_END: Final = b"\r\n\r\n"
_LENGTHS: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
_EXPECT: Final = b"\r\nexpect: 100-continue"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_NUMBER_AT: Final = len(b'{"n":')


class Endpoint:
    """What all connections share. `notes`: number, wall-clock nanoseconds, and so on."""

    def __init__(self, *, delay_s: float, noting: bool) -> None:
        self.delay_s = delay_s
        self.noting = noting
        self.forget()

    def forget(self) -> None:
        self.count = 0
        self.delayed = 0
        self.delays_s = 0.0
        self.notes = array("q")

    def ask(self, path: bytes) -> bytes:
        """The answer's body for a GET."""
        if path == b"/forget":
            self.forget()
        if path == b"/notes":
            return self.notes.tobytes()
        mean_s = self.delays_s / self.delayed if self.delayed else 0.0
        return json.dumps({"count": self.count, "delay_s": mean_s}).encode()


class InstantAnswer(asyncio.Protocol):
    """One connection. Understands bodies with Content-Length, all that its callers send."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._waiting = b""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if self._waiting:
            data = self._waiting + data
        endpoint, begin, count = self._endpoint, 0, 0
        while (end := data.find(_END, begin)) >= 0:
            body = end + len(_END)
            whole = body + _length(data, begin, end)
            if len(data) < whole:
                self._go_on(data, begin, body)
                break
            if endpoint.noting:
                self._note(data, body)
            begin = whole
            count += 1
        self._waiting = data[begin:] if begin < len(data) else b""
        if not count:
            return
        if data.startswith(b"GET "):
            self._tell(data.split(b" ", 2)[1])
            return
        endpoint.count += count
        if endpoint.delay_s:
            self._loop.call_later(endpoint.delay_s, self._answer_late, count, self._loop.time())
        else:
            self._answer(count)

    def _go_on(self, data: bytes, begin: int, body: int) -> None:
        """Who asks first whether a large body is welcome sends nothing before it hears so."""
        if len(data) == body and _EXPECT in data[begin:body].lower():
            assert self._transport is not None
            self._transport.write(_CONTINUE)

    def _note(self, data: bytes, body: int) -> None:
        comma = data.find(b",", body, body + 32)
        if comma >= 0:
            self._endpoint.notes.append(int(data[body + _NUMBER_AT : comma]))
            self._endpoint.notes.append(time.time_ns())

    def _answer_late(self, count: int, came_s: float) -> None:
        self._endpoint.delays_s += (self._loop.time() - came_s) * count
        self._endpoint.delayed += count
        self._answer(count)

    def _answer(self, count: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(ANSWER if count == 1 else ANSWER * count)

    def _tell(self, path: bytes) -> None:
        assert self._transport is not None
        body = self._endpoint.ask(path)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)


def _length(data: bytes, begin: int, end: int) -> int:
    """Content-Length, as our client or a client that writes names in lower case spells it."""
    for name in _LENGTHS:
        at = data.find(name, begin, end)
        if at >= 0:
            at += len(name)
            return int(data[at : data.find(b"\r\n", at, end + 2)])
    return 0


async def main(port: int, endpoint: Endpoint) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(
        lambda: InstantAnswer(endpoint), "127.0.0.1", port, backlog=1_024
    )
    async with server:
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The cheapest endpoint there is.")
    parser.add_argument("port", type=int)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--notes", action="store_true")
    given = parser.parse_args()
    uvloop.run(main(given.port, Endpoint(delay_s=given.delay_ms / 1_000, noting=given.notes)))
