"""Prometheus metrics on a port of their own.

prometheus_client's own server starts a thread per connection and joins none of them. This one has
one thread, which answers one scrape after the other and is gone after `close`. The price: a scraper
that says nothing keeps the next one waiting for up to REQUEST_TIMEOUT_S.
"""

from __future__ import annotations

import asyncio
import logging
import socketserver
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import AF_INET6
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app

from servicekit.settings import HostPort, SettingsError

REQUEST_TIMEOUT_S: Final = 5.0
STOP_POLL_S: Final = 0.05
JOIN_TIMEOUT_S: Final = REQUEST_TIMEOUT_S + 1.0

_log = logging.getLogger(__name__)


@asynccontextmanager
async def serve_metrics(
    listen: HostPort, *, registry: CollectorRegistry = REGISTRY
) -> AsyncIterator[HostPort]:
    """Answers every GET with the metrics of `registry`; yields where it listens.

    Its port is closed and its thread has ended when the context is left.
    Raises SettingsError when the address cannot be bound.
    """
    server = _bound(listen)
    server.set_app(make_wsgi_app(registry))
    thread = threading.Thread(
        target=server.serve_forever, args=(STOP_POLL_S,), name="metrics", daemon=True
    )
    thread.start()
    try:
        yield HostPort(listen.host, server.server_port)
    finally:
        await asyncio.to_thread(_close, server, thread)


def _close(server: WSGIServer, thread: threading.Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join(JOIN_TIMEOUT_S)


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT_S  # of every read and write of the connection

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        _log.debug(format, *args)


class _Server(WSGIServer):
    def server_bind(self) -> None:
        # Not HTTPServer's: it asks DNS for the machine's name, which may take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        _log.debug("a metrics request failed", exc_info=True)


class _ServerV6(_Server):
    address_family = AF_INET6


def _bound(listen: HostPort) -> WSGIServer:
    kind = _ServerV6 if ":" in listen.host else _Server
    try:
        return kind((listen.host, listen.port), _Handler)
    except OSError as error:
        raise SettingsError(
            [f"{listen} cannot be listened on for metrics ({error.strerror}): set another one."]
        ) from error
