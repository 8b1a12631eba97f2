"""Our own HTTP/1.1 client for the hot path: a bounded pool of keep-alive connections to one origin.

An exception to "a library before own code" (ADR 0011): a call costs a quarter of aiohttp's CPU. It
does what the router needs and no more: POST with a body of known length, the answer's head, and its
body if it is wanted. No redirects, no cookies, no compression, no pipelining, no retries.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from router.adapters.http_answer import HttpAnswer, KnownHeads, WantsBody
from router.adapters.http_connection import (
    ConnectionLimits,
    HttpConnection,
    NotSent,
)
from router.adapters.http_dial import first_that_connects, origin_of
from router.adapters.http_outbox import STAY_S, Outbox

CONNECTIONS_MAX: Final = 2_048
CONNECTING_MAX: Final = 64
"""Connections that are opened at once: a server that has just started takes about a hundred; what
overflows its queue is tried again a second later."""
WAITERS_MAX: Final = 16_384
"""Calls that may wait for a connection; a worker's flows have at most 200 × their concurrency."""
WAIT_S: Final = 10.0
"""How long a call waits for a connection when all are in use."""
CONNECT_S: Final = 10.0
"""From looking up the name to a connection; room for a second address."""
SWEEP_S: Final = 0.1
"""Deadlines are looked at so often, all in one pass, and so may be late by so much: a timer for
each call costs more than the call's own bookkeeping."""
CLOSE_S: Final = 5.0

_log = logging.getLogger(__name__)
_Waiter: TypeAlias = "asyncio.Future[HttpConnection | None]"


def _always(_status: int, _headers: dict[bytes, bytes]) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """What a pool may hold and how long a call may wait for a connection."""

    connections_max: int = CONNECTIONS_MAX
    connecting_max: int = CONNECTING_MAX
    waiters_max: int = WAITERS_MAX
    wait_s: float = WAIT_S
    connect_s: float = CONNECT_S
    stay_s: float = STAY_S
    connection: ConnectionLimits = field(default_factory=ConnectionLimits)


class HttpPool:
    """Connections to one origin, for one event loop. Idle ones are used again, newest first.

    Any number of calls at the same time; each has a connection of its own while it runs. More than
    `connections_max` wait, first come first served.
    """

    def __init__(
        self,
        origin: str,
        *,
        wants_body: WantsBody = _always,
        ssl_context: ssl.SSLContext | None = None,
        limits: PoolLimits | None = None,
    ) -> None:
        """`origin` and ValueError as of `origin_of`. Made inside the event loop that it is for."""
        self._origin = origin_of(origin, ssl_context=ssl_context)
        self.expects = True
        self._wants_body = wants_body
        self._limits = limits or PoolLimits()
        self._count = self._connecting = 0
        self._open: set[HttpConnection] = set()
        self._idle: dict[HttpConnection, None] = {}
        self._waiters: deque[tuple[_Waiter, float]] = deque()
        self._sweeping: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._none_left = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._known: KnownHeads = {}
        self._outbox = Outbox(self._loop, stay_s=self._limits.stay_s)

    @property
    def host_header(self) -> str:
        """What requests call the server."""
        return self._origin.host_header

    @property
    def open_count(self) -> int:
        """Connections that are open or being opened."""
        return self._count

    @property
    def idle_count(self) -> int:
        """Connections that nobody uses."""
        return len(self._idle)

    @property
    def waiting_count(self) -> int:
        """Calls that wait for a connection."""
        return sum(not waiter.done() for waiter, _ in self._waiters)

    async def call(self, head: bytes, body: bytes, *, timeout_s: float) -> HttpAnswer:
        """Send a request and return its final answer, whatever its status.

        `head` is whole: request line, fields with `Host` and `Content-Length`, empty line.
        `timeout_s` begins once there is a connection. Raises NotSent when the server cannot have
        acted (no connection, none came free, broken before all was sent), NoAnswer when it
        may have. Cancelling closes the connection.
        """
        now = self._loop.time()
        connection = self._take_idle(now)
        if connection is None:
            connection = await self._obtain()
            now = self._loop.time()
        answering = connection.send(head, body, now + timeout_s)
        try:
            return await answering
        except asyncio.CancelledError:
            connection.abandon(answering)
            raise

    async def close(self) -> None:
        """Close every connection; calls that run or wait fail. Harmless twice.

        Calls that are connecting end by themselves; waits for them CLOSE_S at most.
        """
        self._is_closed = True
        while self._waiters:
            _refuse(self._waiters.popleft()[0], "the pool was closed")
        for connection in list(self._open):
            connection.break_off("the pool was closed")
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        if self._count:
            self._none_left.clear()
            try:
                async with asyncio.timeout(CLOSE_S):
                    await self._none_left.wait()
            except TimeoutError:
                _log.warning("%d connections were still being opened", self._count)

    # What connections tell.

    def connection_is_free(self, connection: HttpConnection) -> None:
        """Give it to the call that waits longest, or keep it."""
        while self._waiters:
            waiter, _ = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle[connection] = None

    def connection_is_gone(self, connection: HttpConnection) -> None:
        """Another one may be opened instead."""
        if connection in self._open:
            self._open.remove(connection)
            self._idle.pop(connection, None)
            self._count_one_less()

    # Ways to a connection.

    def _take_idle(self, now: float) -> HttpConnection | None:
        idle = self._idle
        while idle:
            connection, _ = idle.popitem()  # the newest: the others grow old and are closed
            if connection.is_usable and connection.is_quiet(now):
                return connection
            connection.abort()
        return None

    async def _obtain(self) -> HttpConnection:
        """A new connection, or the next one that is free."""
        limits = self._limits
        while True:
            if self._is_closed:
                raise NotSent("the pool was closed")
            if self._may_connect:
                self._count_one_more()
                return await self._connect()
            if len(self._waiters) >= limits.waiters_max:
                raise NotSent(f"{limits.waiters_max} calls wait for a connection already")
            waiter: _Waiter = self._loop.create_future()
            self._waiters.append((waiter, self._loop.time() + limits.wait_s))
            self._keep_sweeping()
            try:
                connection = await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                    self._give_back(waiter.result())
                raise
            if connection is None:
                return await self._connect()
            if connection.is_usable:
                return connection

    async def _connect(self) -> HttpConnection:
        """Open the connection that was counted already."""
        try:
            async with asyncio.timeout(self._limits.connect_s):
                connection = await first_that_connects(
                    self._origin, make=self._make, let_go=HttpConnection.abort
                )
            if self._is_closed or not connection.is_usable:
                connection.abort()
                raise NotSent("the connection was closed at once")
            self._open.add(connection)
        except OSError as error:  # TLS's errors, those of names and TimeoutError are some too
            text = "in time" if isinstance(error, TimeoutError) else f"({_describe(error)})"
            self._count -= 1
            raise NotSent(f"no connection {text}") from error
        except BaseException:
            self._count -= 1
            raise
        finally:
            self._connecting -= 1
            self._let_next_connect()
        self._keep_sweeping()
        return connection

    def _make(self) -> HttpConnection:
        return HttpConnection(
            self,
            wants_body=self._wants_body,
            limits=self._limits.connection,
            loop=self._loop,
            outbox=self._outbox,
            known=self._known,
        )

    # Counts and deadlines.

    @property
    def _may_connect(self) -> bool:
        limits = self._limits
        return self._count < limits.connections_max and self._connecting < limits.connecting_max

    def _count_one_more(self) -> None:
        self._count += 1
        self._connecting += 1

    def _count_one_less(self) -> None:
        self._count -= 1
        self._let_next_connect()

    def _let_next_connect(self) -> None:
        """Let the calls that wait longest open what may be opened."""
        while self._waiters and self._may_connect:
            waiter, _ = self._waiters.popleft()
            if not waiter.done():
                self._count_one_more()
                waiter.set_result(None)
        if not self._count:
            self._none_left.set()

    def _give_back(self, connection: HttpConnection | None) -> None:
        """Somebody was given this and has gone."""
        if connection is None:
            self._connecting -= 1
            self._count_one_less()
        elif connection.is_usable:
            self.connection_is_free(connection)

    def _keep_sweeping(self) -> None:
        if self._sweeping is None and not self._is_closed:
            self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """One pass over all deadlines; the next one only while there is any."""
        self._sweeping = None
        now = self._loop.time()
        for connection in [each for each in self._open if each.deadline <= now]:
            connection.expire(now)
        while self._waiters and (self._waiters[0][0].done() or self._waiters[0][1] <= now):
            _refuse(self._waiters.popleft()[0], "no connection came free in time")
        if self._open or self._waiters:
            self._keep_sweeping()


def _refuse(waiter: _Waiter, why: str) -> None:
    if not waiter.done():
        waiter.set_exception(NotSent(why))


def _describe(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
