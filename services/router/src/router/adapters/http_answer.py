"""Reads the answers of one HTTP/1.1 connection, one after the other.

Parsing is httptools' (llhttp, strict). What is decided here: which answers are interim, when the
final one is complete, what is too long, and whether the connection is still in step with us.
A server's answers begin alike, so a head that was read before, byte for byte, is not parsed again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import httptools

HEAD_BYTES_MAX: Final = 64 * 1024
"""Of an answer's header fields, trailers included. Each field counts HEADER_COST_BYTES more, as in
HTTP/2 (RFC 9113, 6.5.2), so that their number is bounded too."""
HEADER_COST_BYTES: Final = 32
ANSWER_BYTES_MAX: Final = 24 * 1024 * 1024

HEADS_KEPT_MAX: Final = 64
HEAD_KEPT_BYTES_MAX: Final = 1_024

_HEAD_END: Final = b"\r\n\r\n"
_CONTINUE: Final = 100
_FINAL: Final = 200
_LENGTH, _CODING = b"content-length", b"transfer-encoding"


class BadAnswer(Exception):
    """These bytes are no HTTP answer, or one with a head that is too long. Says why."""


class HttpAnswer(NamedTuple):
    """A final answer. Header names are lower case; of a repeated name the last value counts.

    `body` is empty when nobody wanted it. `is_cut`: it was longer than any may be, and given up.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    is_cut: bool


WantsBody: TypeAlias = Callable[[int, dict[bytes, bytes]], bool]
"""By status and headers: is the body needed? One that is not is read, and not kept."""


class _KnownHead(NamedTuple):
    """What the parser made of a head; `length_bytes`: of the body that must follow at once."""

    status: int
    headers: dict[bytes, bytes]
    keeps_body: bool
    length_bytes: int


KnownHeads: TypeAlias = dict[bytes, _KnownHead]
"""Heads of whole answers that left their connection in step; for readers with one `wants_body`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLimits:
    """How long an answer may be."""

    head_bytes_max: int = HEAD_BYTES_MAX
    body_bytes_max: int = ANSWER_BYTES_MAX


class AnswerReader:
    """`begin`, then `feed` until it says True, then `take`; and again.

    `on_continue` is called, in the middle of `feed`, for an interim answer 100. The `on_…` methods
    below are for the parser.
    """

    def __init__(
        self,
        *,
        wants_body: WantsBody,
        limits: AnswerLimits,
        on_continue: Callable[[], None],
        known: KnownHeads,
    ) -> None:
        self._wants_body = wants_body
        self._limits = limits
        self._on_continue = on_continue
        self._known = known
        self._parser = httptools.HttpResponseParser(self)
        self._keeps_body = False
        self._keeps_alive = False
        self._is_desynced = False
        self._is_complete = False
        self._is_cut = False
        self.begin()

    def begin(self) -> None:
        """A request goes out: the next bytes are its answer."""
        self._status = self._head_bytes = self._fed_bytes = self._body_bytes = 0
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._is_complete = False
        self._is_begun = False

    def feed(self, data: bytes) -> bool:
        """True: the final answer is complete, or cut. Raises BadAnswer."""
        is_first, self._is_begun = not self._is_begun, True
        if is_first and self._is_known(data):
            return True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self._is_complete:
                raise BadAnswer(f"no proper HTTP answer ({error})") from None
            self._is_desynced = True
        except httptools.HttpParserUpgrade:
            raise BadAnswer("it changed the protocol") from None
        if self._is_complete and self._head_bytes <= self._limits.head_bytes_max:
            if is_first and self.is_in_step:
                self._remember(data)
            return True
        self._check(len(data))
        return self._is_cut

    def end(self) -> bool:
        """The peer sends nothing more. True: that was the end of an answer without a length."""
        headers = self._headers
        self._keeps_alive = False
        return self._status >= _FINAL and _LENGTH not in headers and _CODING not in headers

    def take(self) -> HttpAnswer:
        """The answer that is complete."""
        body = self._body
        whole = body[0] if len(body) == 1 else b"".join(body)
        self._body = []
        return HttpAnswer(self._status, self._headers, whole, self._is_cut)

    @property
    def is_in_step(self) -> bool:
        """May another request follow: was this answer whole, alone, and not said to be the last?"""
        return self._keeps_alive and not self._is_desynced and not self._is_cut

    def close(self) -> None:
        """The parser holds us, and we hold it."""
        self.__dict__.pop("_parser", None)

    def on_message_begin(self) -> None:
        """An answer begins; a second one to the same request is an attack or a mistake."""
        if self._is_complete:
            self._is_desynced = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or a trailer, which counts and is not kept."""
        self._head_bytes += len(name) + len(value) + HEADER_COST_BYTES
        if not self._status:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if self._is_complete:
            return
        self._status = status = self._parser.get_status_code()
        if status >= _FINAL:
            self._keeps_body = self._wants_body(status, self._headers)

    def on_body(self, body: bytes) -> None:
        """A piece of the body, without its chunks' framing."""
        self._body_bytes += len(body)
        if self._keeps_body and not self._is_complete:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The final answer is there, or an interim one (1xx)."""
        if self._is_complete:
            return
        if self._status < _FINAL:
            is_continue, self._status = self._status == _CONTINUE, 0
            self._headers = {}
            if is_continue:
                self._on_continue()
            return
        self._keeps_alive = self._parser.should_keep_alive()
        self._is_complete = True

    def _is_known(self, data: bytes) -> bool:
        """Is it a whole answer and nothing else, with a head that was read before?"""
        head_bytes = data.find(_HEAD_END) + len(_HEAD_END)
        known = self._known.get(data[:head_bytes])
        if known is None or len(data) - head_bytes != known.length_bytes:
            return False
        self._status, self._headers, keeps_body, _ = known
        if keeps_body:
            self._body.append(data[head_bytes:])
        self._keeps_alive = self._is_complete = True
        return True

    def _remember(self, data: bytes) -> None:
        """The answer came in this one piece. Only a stated length follows from the head alone."""
        headers, head_bytes = self._headers, data.find(_HEAD_END) + len(_HEAD_END)
        if (
            _CODING in headers
            or _LENGTH not in headers
            or head_bytes > HEAD_KEPT_BYTES_MAX
            or len(data) - head_bytes != self._body_bytes
        ):
            return
        if len(self._known) >= HEADS_KEPT_MAX:
            self._known.clear()
        self._known[data[:head_bytes]] = _KnownHead(
            self._status, headers, self._keeps_body, self._body_bytes
        )

    def _check(self, size_bytes: int) -> None:
        """Head and framing are bounded as well as the body."""
        limits = self._limits
        self._fed_bytes += size_bytes
        if self._body_bytes > limits.body_bytes_max:
            self._is_cut = True
            return
        framing_bytes = self._fed_bytes - self._body_bytes
        framing_max = limits.head_bytes_max + (limits.body_bytes_max if self._status else 0)
        if self._head_bytes > limits.head_bytes_max or framing_bytes > framing_max:
            raise BadAnswer("the answer's header fields or its framing are too long")
