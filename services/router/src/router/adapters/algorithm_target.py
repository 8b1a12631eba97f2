"""Runs an algorithm version on the runner, or on whatever else answers `POST /v1/algo/…`."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from ssl import SSLContext
from typing import Final
from urllib.parse import quote

from kernel.errors import InvalidInput

from router.adapters.http_answer import HttpAnswer
from router.adapters.http_client import HttpPool, PoolLimits
from router.adapters.http_connection import NoAnswer, NotSent
from router.adapters.http_request import field_line, request_prefix
from router.domain.content_type import content_of
from router.domain.delivery import Run
from router.domain.flow_spec import AlgorithmTargetSpec, FlowSpec
from router.domain.outcome import SUCCEEDED, Outcome, OutcomeKind, failed
from router.domain.runner_answer import OUTCOME_HEADER, Answer, judge, needs_body

ANSWER_MARGIN_S: Final = 15.0
"""How long we wait beyond the run's own limit: the runner ends runs, and tells us how."""
KEY_BYTES_MAX: Final = 4096
"""A longer record key is left out: no HTTP server takes a header of any length."""
_OUTCOME: Final = OUTCOME_HEADER.lower().encode()
_OK: Final = 200
_SAID_SUCCEEDED: Final = b"succeeded"


@asynccontextmanager
async def runner_pool(
    url: str, *, ssl_context: SSLContext | None = None, limits: PoolLimits | None = None
) -> AsyncIterator[HttpPool]:
    """The connections to the runner that all targets of a process share. Raises ValueError."""
    pool = HttpPool(url, wants_body=_wants_body, ssl_context=ssl_context, limits=limits)
    try:
        yield pool
    finally:
        await pool.close()


class AlgorithmTarget:
    """Target of subscriber and chain flows. Does not own the pool."""

    def __init__(
        self,
        spec: FlowSpec,
        *,
        pool: HttpPool,
        token: str,
        position: Callable[[], int],
        now: Callable[[], datetime],
    ) -> None:
        """`pool`: a `runner_pool`. `position`: how far this worker knows the registry's log, at any
        moment. `now`: aware UTC."""
        assert isinstance(spec.target, AlgorithmTargetSpec), "the target is an algorithm"
        algorithm = spec.target.algorithm
        path = "/".join(
            quote(part, safe="") for part in (algorithm.owner, algorithm.name, spec.target.version)
        )
        query = f"?timeout={spec.timeout_s}" if spec.timeout_s else ""
        self._pool = pool
        self._position = position
        self._now = now
        self._timeout_s = spec.call_timeout_s + ANSWER_MARGIN_S
        self._prefix = request_prefix(
            "POST",
            f"/v1/algo/{path}{query}",
            {
                "Host": pool.host_header,
                "Authorization": f"Bearer {token}",
                "X-Eventflows-Account": spec.account_id,
                "X-Eventflows-Flow": spec.flow_id,
                "X-Eventflows-Mode": "live",
            },
        )

    async def invoke(self, run: Run) -> Outcome:
        """POST the record's bytes; judge the answer by its status and, if need be, its body."""
        body, content_type = content_of(run.delivery.value, run.named)
        try:
            head = self._head(run, len(body), content_type)
            answer = await self._pool.call(head, body, timeout_s=self._timeout_s)
        except NotSent as error:
            return failed(OutcomeKind.UNREACHABLE, f"the runner is away: {error.message}")
        except NoAnswer as error:
            return failed(OutcomeKind.NO_ANSWER, f"no answer of the runner: {error.message}")
        except InvalidInput as error:
            return failed(OutcomeKind.REFUSED, error.message, error_type="InvalidHeader")
        if answer.status == _OK and answer.headers.get(_OUTCOME) == _SAID_SUCCEEDED:
            return SUCCEEDED
        return judge(_answer_of(answer), now=self._now())

    async def close(self) -> None:
        """Nothing is held: the pool belongs to whoever made it."""

    def _head(self, run: Run, length_bytes: int, content_type: str) -> bytes:
        """Raises InvalidInput for a request id or trace context that no header can hold."""
        key, traceparent = run.delivery.key, run.traceparent
        lines = field_line(f"X-Eventflows-Request-Id: {run.request_id}")
        if traceparent:
            lines += field_line(f"traceparent: {traceparent}")
        if key is not None and len(key) <= KEY_BYTES_MAX:
            text = b2a_base64(key, newline=False).decode("ascii")
            lines += f"X-Eventflows-Record-Key: {text}\r\n"
        lines += (
            f"X-Eventflows-Attempt: {run.attempt}\r\nX-Eventflows-Hops: {run.hops}\r\n"
            f"X-Eventflows-Position: {self._position()}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {length_bytes}\r\n\r\n"
        )
        return self._prefix + lines.encode("ascii")


def _answer_of(answer: HttpAnswer) -> Answer:
    headers = answer.headers
    return Answer(
        status=answer.status,
        body=answer.body,
        outcome_header=_text(headers.get(_OUTCOME)),
        retry_after=_text(headers.get(b"retry-after")),
        date=_text(headers.get(b"date")),
        is_cut=answer.is_cut,
    )


def _wants_body(status: int, headers: dict[bytes, bytes]) -> bool:
    if status == _OK and headers.get(_OUTCOME) == _SAID_SUCCEEDED:
        return False
    return needs_body(status, _text(headers.get(_OUTCOME)))


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1").strip()
