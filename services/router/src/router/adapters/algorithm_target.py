"""Runs an algorithm version on the runner, or on whatever else answers `POST /v1/algo/…`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from aiohttp import (
    ClientConnectionError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    TCPConnector,
)
from yarl import URL

from router.domain.content_type import content_of
from router.domain.delivery import Run
from router.domain.flow_spec import AlgorithmTargetSpec, FlowSpec
from router.domain.outcome import Outcome, OutcomeKind, failed
from router.domain.runner_answer import OUTCOME_HEADER, judge, needs_body

ADDRESS_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 10.0
"""From looking up the runner's name to a connection; room for a second address."""
ANSWER_MARGIN_S: Final = 15.0
"""How long we wait beyond the run's own limit: the runner ends runs, and tells us how."""
ANSWER_BYTES_MAX: Final = 24 * 1024 * 1024
KEY_BYTES_MAX: Final = 4096
"""A longer record key is left out: no HTTP server takes a header of any length."""
KEEP_ALIVE_S: Final = 60.0
_CHUNK_BYTES: Final = 64 * 1024


def runner_session() -> ClientSession:
    """The HTTP session that all targets of a process share; whoever makes it closes it.

    Without a limit of its own: each pump bounds its calls by `concurrency_max`, and with a common
    pool one flow with slow calls would make all others wait for a connection, and count that as a
    runner that is away although nothing was sent.
    """
    connector = TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S)
    return ClientSession(connector=connector, auto_decompress=False)


class AlgorithmTarget:
    """Target of subscriber and chain flows. Does not own the session."""

    def __init__(
        self,
        spec: FlowSpec,
        *,
        session: ClientSession,
        runner_url: str,
        token: str,
        position: Callable[[], int],
    ) -> None:
        """`position`: how far this worker knows the registry's log, at any moment."""
        assert isinstance(spec.target, AlgorithmTargetSpec), "the target is an algorithm"
        algorithm = spec.target.algorithm
        path = "/".join(
            quote(part, safe="") for part in (algorithm.owner, algorithm.name, spec.target.version)
        )
        query = f"?timeout={spec.timeout_s}" if spec.timeout_s else ""
        self._url = URL(f"{runner_url.rstrip('/')}/v1/algo/{path}{query}", encoded=True)
        self._session = session
        self._position = position
        self._timeout = ClientTimeout(
            total=spec.call_timeout_s + ANSWER_MARGIN_S,
            connect=CONNECT_TIMEOUT_S,
            sock_connect=ADDRESS_TIMEOUT_S,
        )
        self._headers = {
            "Authorization": f"Bearer {token}",
            "X-Eventflows-Account": spec.account_id,
            "X-Eventflows-Flow": spec.flow_id,
            "X-Eventflows-Mode": "live",
        }

    async def invoke(self, run: Run) -> Outcome:
        """POST the record's bytes; judge the answer by its status and, if need be, its body."""
        body, content_type = content_of(run.delivery)
        headers = self._headers | {
            "Content-Type": content_type,
            "X-Eventflows-Request-Id": run.request_id,
            "X-Eventflows-Attempt": str(run.attempt),
            "X-Eventflows-Hops": str(run.hops),
            "X-Eventflows-Position": str(self._position()),
        }
        if run.delivery.key is not None and len(run.delivery.key) <= KEY_BYTES_MAX:
            headers["X-Eventflows-Record-Key"] = b64encode(run.delivery.key).decode("ascii")
        if run.traceparent:
            headers["traceparent"] = run.traceparent
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, timeout=self._timeout, allow_redirects=False
            ) as answer:
                return await self._judge(answer)
        except ClientConnectionError as error:
            return failed(OutcomeKind.UNREACHABLE, f"the runner is away: {type(error).__name__}")
        except TimeoutError:
            return failed(OutcomeKind.UNREACHABLE, f"no answer in {self._timeout.total:g} s")
        except ClientError as error:
            return failed(OutcomeKind.UNREACHABLE, f"no proper answer: {type(error).__name__}")

    async def close(self) -> None:
        """Nothing is held: the session belongs to whoever made it."""

    async def _judge(self, answer: ClientResponse) -> Outcome:
        outcome_header = answer.headers.get(OUTCOME_HEADER)
        body = b""
        if needs_body(answer.status, outcome_header):
            body = await _bounded_body(answer)
        else:
            await _discard_body(answer)
        return judge(
            answer.status,
            body,
            outcome_header=outcome_header,
            retry_after=answer.headers.get("Retry-After"),
        )


async def _bounded_body(answer: ClientResponse) -> bytes:
    """The body, or its beginning if it is longer than any answer may be."""
    chunks, size_bytes = [], 0
    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
        chunks.append(chunk)
        size_bytes += len(chunk)
        if size_bytes > ANSWER_BYTES_MAX:
            answer.close()
            break
    return b"".join(chunks)


async def _discard_body(answer: ClientResponse) -> None:
    """Read to the end, so that the connection can be used again, and keep nothing."""
    async for _ in answer.content.iter_chunked(_CHUNK_BYTES):
        pass
