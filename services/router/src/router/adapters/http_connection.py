"""One keep-alive connection to an HTTP/1.1 server: one request in flight, never two.

    idle ──send──▶ sending ──▶ answering ──answer complete──▶ idle
      │               │            │
      └── peer, limit, deadline, cancelled call, or anything that is not an answer ──▶ gone

Decided here: how a request is sent, and whether a failure left it unsent or unanswered. Price: a
connection that gives any cause for doubt is closed, although it might have served once more.
"""

from __future__ import annotations

import asyncio
import select
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from kernel.errors import Unavailable

from router.adapters.http_answer import (
    AnswerLimits,
    AnswerReader,
    BadAnswer,
    HttpAnswer,
    KnownHeads,
    WantsBody,
)
from router.adapters.http_outbox import Outbox

JOIN_BYTES_MAX: Final = 32 * 1024
"""Up to here head and body are copied together, so that one write sends both."""
SLICE_BYTES: Final = 256 * 1024
CONTINUE_BODY_BYTES: Final = 1024 * 1024
"""A larger body waits until the server says that it will take it."""
CONTINUE_WAIT_S: Final = 1.0
"""A server that knows nothing of 100-continue says nothing; then the body is sent all the same."""
IDLE_S: Final = 4.0
"""Below the 5 s after which node, uvicorn and Apache close: whoever closes first causes no race."""

_EXPECT: Final = b"Expect: 100-continue\r\n\r\n"
_EXPECTATION_FAILED: Final = 417


class NotSent(Unavailable):
    """The server has not got the whole request, so it cannot have acted on it."""


class NoAnswer(Unavailable):
    """The request was sent; whether the server acted on it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What one connection may take and how long it may wait."""

    answer: AnswerLimits = field(default_factory=AnswerLimits)
    continue_body_bytes: int = CONTINUE_BODY_BYTES
    continue_wait_s: float = CONTINUE_WAIT_S
    idle_s: float = IDLE_S


class Owner(Protocol):
    """Who is told what becomes of a connection.

    `expects`: large bodies wait for 100-continue; False after the server answered one with 417.
    """

    expects: bool

    def connection_is_free(self, connection: HttpConnection) -> None:
        """It can take a request."""

    def connection_is_gone(self, connection: HttpConnection) -> None:
        """It takes none any more. Told once."""


class HttpConnection(asyncio.Protocol):
    """Made by a pool, which calls `expire` once `deadline` (of the loop's clock) has passed."""

    def __init__(
        self,
        owner: Owner,
        *,
        wants_body: WantsBody,
        limits: ConnectionLimits,
        loop: asyncio.AbstractEventLoop,
        outbox: Outbox,
        known: KnownHeads,
    ) -> None:
        """`outbox` and `known` are for all connections of a pool."""
        self._owner = owner
        self._outbox = outbox
        self._limits = limits
        self._loop = loop
        self._reader = AnswerReader(
            wants_body=wants_body,
            limits=limits.answer,
            on_continue=self._continue,
            known=known,
        )
        self._transport: asyncio.WriteTransport | None = None
        self._is_gone = False
        self._poll = select.poll()
        self._idle_since = 0.0
        self.deadline = float("inf")
        self._answering: asyncio.Future[HttpAnswer] | None = None
        self._call_deadline = 0.0
        self._request: bytes | None = None
        """A small request that waits in the outbox."""
        self._rest: memoryview | None = None
        """What was not handed to the transport yet."""
        self._is_large = False
        self._waits_for_continue = False
        self._is_paused = False

    # What the pool does.

    @property
    def is_usable(self) -> bool:
        """May a request be sent? False as soon as the transport knows that the peer has gone."""
        transport = self._transport
        return transport is not None and not self._is_gone and not transport.is_closing()

    def is_quiet(self, now: float) -> bool:
        """Has the peer neither closed it nor sent anything while it was idle?

        Asks the kernel (0.5 µs), which knows before the loop does; not in the tick in which the
        last answer came.
        """
        if self._idle_since >= now:
            return True
        return not self._poll.poll(0)

    def send(self, head: bytes, body: bytes, deadline: float) -> asyncio.Future[HttpAnswer]:
        """Send a request; its future fails with NotSent or NoAnswer, at `deadline` at the latest.

        `head` ends with an empty line and states the body's length.
        """
        transport = self._transport
        assert transport is not None
        assert self._answering is None, "one request at a time"
        self._answering = answering = self._loop.create_future()
        self.deadline = self._call_deadline = deadline
        self._reader.begin()
        if len(body) <= JOIN_BYTES_MAX:
            self._is_large = False
            self._request = head + body
            self._outbox.add(self)
            return answering
        self._is_large = True
        self._rest = memoryview(body)
        if len(body) > self._limits.continue_body_bytes and self._owner.expects:
            self._waits_for_continue = True
            self.deadline = min(deadline, self._loop.time() + self._limits.continue_wait_s)
            transport.write(head[:-2] + _EXPECT)
        else:
            transport.write(head)
            self._send_rest()
        return answering

    def hand_over(self) -> None:
        """Write the request that waits in the outbox, if it still does."""
        request, transport, answering = self._request, self._transport, self._answering
        if request is None or transport is None or answering is None:
            return
        if transport.is_closing() or answering.done():
            self.break_off("the connection was closed before the request was sent")
            return
        try:
            transport.write(request)
        except (OSError, RuntimeError):  # uvloop's word for a transport that has closed
            self.break_off("the connection was closed before the request was sent")
        else:
            self._request = None

    def abandon(self, answering: asyncio.Future[HttpAnswer]) -> None:
        """Nobody waits for this answer any more: it must not be taken for the next one's."""
        if self._answering is answering:
            self._answering = None
            self.abort()

    def expire(self, now: float) -> None:
        """The deadline has passed: of the call, of the wait for 100-continue, or of idleness."""
        if self._waits_for_continue and now < self._call_deadline:
            self._continue()
        else:
            self.break_off("no answer in time")

    def break_off(self, why: str) -> None:
        """Close now; a call that runs fails."""
        answering, self._answering = self._answering, None
        if answering is not None and not answering.done():
            kind = NoAnswer if self._is_all_sent() else NotSent
            answering.set_exception(kind(why))
        self.abort()

    def abort(self) -> None:
        """Close now; what is unsent stays unsent."""
        if self._transport is not None:
            self._transport.abort()
        if not self._is_gone:
            self._is_gone = True
            self._waits_for_continue = False
            self._request = self._rest = None
            self._reader.close()
            self._owner.connection_is_gone(self)

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, with TLS if there is any."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass
        self._be_idle()
        descriptor = transport.get_extra_info("socket").fileno()
        self._poll.register(descriptor, select.POLLIN | select.POLLRDHUP)

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer, or what nobody asked for, which would pass for the next answer."""
        if self._answering is None:
            self.abort()
            return
        if self._request is not None:
            self.break_off("the server spoke before it was asked")
            return
        try:
            is_complete = self._reader.feed(data)
        except BadAnswer as error:
            self.break_off(str(error))
            return
        if is_complete:
            self._finish()

    def eof_received(self) -> None:
        """The peer sends nothing more; to go on sending to it would be in vain."""
        if self._answering is not None and self._reader.end():
            self._finish()
        else:
            self.break_off("the connection was closed before the answer was complete")

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, by whom ever."""
        if exc is None:
            self.eof_received()
        else:
            self.break_off(f"the connection broke ({type(exc).__name__})")
        self._transport = None

    def pause_writing(self) -> None:
        """The peer reads more slowly than we write."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """What was written has gone."""
        self._is_paused = False
        if not self._waits_for_continue:
            self._send_rest()

    # A call's course.

    def _finish(self) -> None:
        """The answer is there; the connection serves again if both sides are done with this."""
        answering, self._answering = self._answering, None
        assert answering is not None
        answer = self._reader.take()
        if not answering.done():
            answering.set_result(answer)
        if answer.status == _EXPECTATION_FAILED:
            self._owner.expects = False
        if self._reader.is_in_step and self._is_all_sent():
            self._be_idle()
            self._owner.connection_is_free(self)
        else:
            self.abort()

    def _be_idle(self) -> None:
        self._idle_since = now = self._loop.time()
        self.deadline = now + self._limits.idle_s

    def _is_all_sent(self) -> bool:
        if not self._is_large:
            return self._request is None
        transport = self._transport
        return self._rest is None and (transport is None or not transport.get_write_buffer_size())

    def _continue(self) -> None:
        """The server wants the body, or says nothing. A 100 that nobody waits for means nothing."""
        if self._waits_for_continue:
            self._waits_for_continue = False
            self.deadline = self._call_deadline
            self._send_rest()

    def _send_rest(self) -> None:
        """Hand over slices until the transport has enough, or all of it is handed over."""
        transport = self._transport
        while self._rest is not None and not self._is_paused and transport is not None:
            piece, rest = self._rest[:SLICE_BYTES], self._rest[SLICE_BYTES:]
            self._rest = rest if len(rest) else None
            transport.write(piece)
