"""The REST server: granian inside this process, without children of its own.

granian usually starts worker processes, which outlive a parent that is killed. Its embedded server
runs on our event loop, so one process is all there is, and what is in flight ends before it stops.
The price: the embedded server is marked experimental in granian 2.8, and uses one core.
"""

from __future__ import annotations

import asyncio
import socket

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from servicekit.settings import HostPort, SettingsError
from starlette.applications import Starlette

BACKLOG_MAX = 1_024
REQUESTS_AT_ONCE_MAX = 1_024
HEADER_TIMEOUT_MS = 10_000
STOP_TIMEOUT_S = 10.0


class RestServer:
    """One listening server. `serve` once, `stop` from the same loop, early or twice."""

    def __init__(self, app: Starlette, *, listen: HostPort) -> None:
        self._listen = listen
        self._server = Server(
            app,
            address=listen.host,
            port=listen.port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MS),
            websockets=False,
            backlog=BACKLOG_MAX,
            backpressure=REQUESTS_AT_ONCE_MAX,
            log_enabled=False,
        )

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then let what is in flight end, for a bounded time.

        Raises SettingsError when the address cannot be bound.
        """
        _check_free(self._listen)
        serving = asyncio.create_task(self._server.serve())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                raise serving.exception() or RuntimeError("the REST server ended by itself")
            self._server.stop()
            await asyncio.wait({serving}, timeout=STOP_TIMEOUT_S)
        finally:
            for task in (serving, stopping):
                task.cancel()
            await asyncio.gather(serving, stopping, return_exceptions=True)


def _check_free(listen: HostPort) -> None:
    """granian shares a port silently with any stray server on it (SO_REUSEPORT): look before."""
    try:
        for family, kind, number, _, address in socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, number) as probe:
                # Free is a port whose last connections linger, not one that is listened on.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise SettingsError(
            [
                f"{listen} cannot be listened on ({error.strerror}): "
                "free the port or set another one."
            ]
        ) from error
