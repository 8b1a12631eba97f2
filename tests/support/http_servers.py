"""`python -m tests.support.http_servers KIND PORT [CERTIFICATE]`: three HTTP servers by strangers.

aiohttp (its own parser), granian (hyper, in Rust) and the standard library's. They behave alike:

    /echo        the body, with a length; X-Sent: how many bytes came
    /chunked     the body in three chunks
    /status/N    that status, no body
    /close       the body, and the connection is closed
    /large/N     N bytes
    /bye         HTTP/1.0's way: no length, the connection's end is the answer's (stdlib only)
"""

from __future__ import annotations

import asyncio
import http.server
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

KINDS: Final = ("aiohttp", "granian", "stdlib")
BODY_BYTES_MAX: Final = 64 * 1024 * 1024


def answer(path: str, body: bytes) -> tuple[int, dict[str, str], list[bytes]]:
    """Status, headers and the pieces of a body; one piece is sent with its length."""
    headers = {"X-Sent": str(len(body)), "X-Eventflows-Outcome": "succeeded"}
    if path.startswith("/status/"):
        return int(path.removeprefix("/status/")), headers, []
    if path.startswith("/large/"):
        return 200, headers, [b"x" * int(path.removeprefix("/large/"))]
    if path == "/chunked":
        third = max(1, len(body) // 3)
        return 200, headers, [body[:third], body[third : 2 * third], body[2 * third :]]
    if path == "/close":
        return 200, headers | {"Connection": "close"}, [body]
    return 200, headers, [body]


async def serve_aiohttp(port: int, tls: ssl.SSLContext | None) -> None:
    from aiohttp import web

    async def handle(request: web.Request) -> web.StreamResponse:
        status, headers, pieces = answer(request.path, await request.read())
        if len(pieces) <= 1:
            return web.Response(status=status, headers=headers, body=b"".join(pieces))
        response = web.StreamResponse(status=status, headers=headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        await response.write_eof()
        return response

    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
    await asyncio.Event().wait()


Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """For granian."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    status, headers, pieces = answer(scope["path"], body)
    if len(pieces) == 1:
        headers["Content-Length"] = str(len(pieces[0]))
    fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    for piece in pieces[:-1]:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": pieces[-1] if pieces else b""})


async def serve_granian(port: int) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server = Server(
        asgi, address="127.0.0.1", port=port, interface=Interfaces.ASGI, websockets=False
    )
    await server.serve()


class Handler(http.server.BaseHTTPRequestHandler):
    """The standard library's server, which knows 100-continue by itself."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, headers, pieces = answer(self.path, body)
        if self.path == "/bye":
            self.protocol_version = "HTTP/1.0"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.path == "/bye":
            self.close_connection = True
            self.end_headers()
            self.wfile.write(body)
        elif len(pieces) > 1:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in [*filter(None, pieces), b""]:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            if status not in (204, 304):
                self.send_header("Content-Length", str(sum(map(len, pieces))))
            self.end_headers()
            self.wfile.write(b"".join(pieces))

    def log_message(self, *_: object) -> None:
        """Nothing."""


def serve_stdlib(port: int, tls: ssl.SSLContext | None) -> None:
    http.server.ThreadingHTTPServer.request_queue_size = 128
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


def main(kind: str, port: int, certificate: str = "") -> None:
    tls = None
    if certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
    if kind == "aiohttp":
        asyncio.run(serve_aiohttp(port, tls))
    elif kind == "granian":
        asyncio.run(serve_granian(port))
    else:
        serve_stdlib(port, tls)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
