"""What goes over the wire between the routers and the runner: each delivery and its answer.

It looks at the bytes that a proxy forwards, so a router's repeats are counted by nobody's word.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import httptools
from devstack.tcp_proxy import Tap

REQUEST_ID = b"x-eventflows-request-id"
ATTEMPT = b"x-eventflows-attempt"
FLOW = b"x-eventflows-flow"
OUTCOME = b"x-eventflows-outcome"
DECIDED = {b"succeeded", b"failed"}
"""What the runner says of runs that nobody tries again. A timeout or a refusal is tried again."""


@dataclass(slots=True, kw_only=True)
class Sent:
    """One request to the runner. Times are of the monotonic clock; None: never answered.

    `is_decided`: the answer leaves nothing to be tried again.
    """

    flow_id: str
    request_id: str
    attempt: int
    sent_s: float
    answered_s: float | None = None
    is_decided: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A delivery that was made before, by a worker that did not know what had become of it.

    `decided_s`: when its fate was first told; None: it was not, as of one that waits for its next
    attempt.
    """

    again: Sent
    decided_s: float | None


class RunnerTap:
    """All requests that the proxy has forwarded, in their order."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def taps(self) -> tuple[Tap, Tap]:
        """For one connection: `TcpProxy(taps=tap.taps)`."""
        waiting: deque[Sent] = deque()
        return _tap(httptools.HttpRequestParser(_Requests(self.sent, waiting))), _tap(
            httptools.HttpResponseParser(_Answers(waiting))
        )


def repeats(sent: Iterable[Sent]) -> list[Repeat]:
    """First attempts that were made before; attempts after the first are retries, not repeats."""
    decided_s: dict[str, float | None] = {}
    found = []
    for one in sent:
        told_s = decided_s.get(one.request_id)
        if one.attempt == 1 and one.request_id in decided_s:
            found.append(Repeat(again=one, decided_s=told_s))
        if told_s is None:
            decided_s[one.request_id] = one.answered_s if one.is_decided else None
    return found


def longest_gap_s(sent: Iterable[Sent], since_s: float, until_s: float) -> float:
    """The longest time in which a flow began nothing that it had not begun before.

    The wait that has not ended at `until_s` counts too. `sent` is of one flow.
    """
    known: set[str] = set()
    moments = [since_s]
    for one in sent:
        if one.request_id not in known and since_s <= one.sent_s <= until_s:
            moments.append(one.sent_s)
        known.add(one.request_id)
    return max(later - earlier for earlier, later in pairwise([*moments, until_s]))


class _Requests:
    """Callbacks of the parser of what the router says."""

    def __init__(self, sent: list[Sent], waiting: deque[Sent]) -> None:
        self._sent = sent
        self._waiting = waiting
        self._headers: dict[bytes, bytes] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_message_complete(self) -> None:
        headers, self._headers = self._headers, {}
        one = Sent(
            flow_id=headers.get(FLOW, b"").decode(),
            request_id=headers.get(REQUEST_ID, b"").decode(),
            attempt=int(headers.get(ATTEMPT, b"1")),
            sent_s=time.monotonic(),
        )
        self._sent.append(one)
        self._waiting.append(one)


class _Answers:
    """Callbacks of the parser of what the runner says."""

    def __init__(self, waiting: deque[Sent]) -> None:
        self._waiting = waiting
        self._outcome = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == OUTCOME:
            self._outcome = value

    def on_message_complete(self) -> None:
        outcome, self._outcome = self._outcome, b""
        if self._waiting:
            one = self._waiting.popleft()
            one.answered_s, one.is_decided = time.monotonic(), outcome in DECIDED


def _tap(parser: httptools.HttpRequestParser | httptools.HttpResponseParser) -> Tap:
    """Feed the parser; what is no HTTP is not looked at any more."""
    feed: Callable[[bytes], None] | None = parser.feed_data

    def see(chunk: bytes) -> None:
        nonlocal feed
        if feed is not None:
            try:
                feed(chunk)
            except httptools.HttpParserError:
                feed = None

    return see
