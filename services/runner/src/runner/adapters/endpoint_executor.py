"""Runs algorithms that live behind an HTTP URL, such as a model server: one POST a run.

| The endpoint answers | The caller learns |
| --- | --- |
| 2xx | the result: JSON, text or bytes by its content type; an empty body is JSON null |
| 429 | Overloaded (429) with the endpoint's Retry-After |
| 408, 5xx, nothing at all | Unavailable (503): another attempt may help |
| any other status | an algorithm error with the beginning of the body: repeating would not help |
| no complete answer within the timeout | an error of type TimeoutError |
"""

from __future__ import annotations

import asyncio
import io
import time
from typing import Final

from aiohttp import (
    ClientConnectionError,
    ClientError,
    ClientPayloadError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from catalog.records import Algorithm
from kernel.errors import Overloaded, Unavailable

from runner.domain import wire
from runner.domain.adk_protocol import compact_json, too_large
from runner.domain.limits import (
    OUTPUT_BYTES_MAX,
    OVERLOAD_RETRY_AFTER_S,
    SESSIONS_TOTAL_MAX,
)
from runner.domain.run import (
    ALGORITHM_ERROR,
    PARSING_ERROR,
    TIMEOUT_ERROR,
    ContentType,
    EndpointFailed,
    Execution,
    Payload,
    RunError,
)
from runner.ports import Job

CONNECT_TIMEOUT_S: Final = 5.0
RETRY_AFTER_MAX_S: Final = 600.0
EXCERPT_BYTES_MAX: Final = 2_000
CHUNK_BYTES: Final = 64 * 1024
_SENT_TYPES: Final = {
    ContentType.JSON: "application/json",
    ContentType.TEXT: "text/plain; charset=utf-8",
    ContentType.BINARY: "application/octet-stream",
}
_OVERLOADED: Final = 429
_TRY_AGAIN: Final = frozenset({408})
_SERVER_ERROR: Final = 500
_NOT_THERE: Final = frozenset({502, 503, 504})
"""What whoever stands before an endpoint says for one that is not there (RFC 9110, 15.6)."""


def endpoint_session() -> ClientSession:
    """The HTTP session for all endpoints; whoever makes it closes it. Follows no cookies."""
    return ClientSession(
        connector=TCPConnector(limit=SESSIONS_TOTAL_MAX), cookie_jar=DummyCookieJar()
    )


class EndpointExecutor:
    """An `Executor` for sources of kind endpoint."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def execute(self, job: Job) -> Execution:
        """See `ports.Executor`. Redirects are not followed: the URL is what its author named."""
        started_s = time.monotonic()
        timeout = ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
        try:
            async with asyncio.timeout(job.timeout_s) as limit:
                async with self._session.post(
                    job.algorithm.source_url,
                    data=io.BytesIO(job.input.data),  # aiohttp sends bytes in one piece
                    headers=_headers(job),
                    timeout=timeout,
                    allow_redirects=False,
                ) as response:
                    outcome = await _outcome(job.algorithm, response)
        except TimeoutError as error:
            if not limit.expired():  # connecting, not the run
                raise _away(job.algorithm, error) from error
            outcome = RunError(
                message=f"algorithm timed out: its endpoint gave no answer within "
                f"{job.timeout_s:g} seconds",
                error_type=TIMEOUT_ERROR,
                timed_out=True,
            )
        except (ClientConnectionError, ClientPayloadError) as error:
            raise _away(job.algorithm, error) from error
        except (ClientError, ValueError) as error:
            outcome = RunError(message=f"the endpoint cannot be called: {type(error).__name__}")
        return Execution(outcome=outcome, duration_s=time.monotonic() - started_s)


def _headers(job: Job) -> dict[str, str]:
    carried = {
        wire.REQUEST_ID: job.request_id,
        wire.FLOW: job.carried.flow_id,
        wire.ATTEMPT: job.carried.attempt,
        wire.HOPS: str(job.carried.hops),
        wire.TRACEPARENT: job.carried.traceparent,
        "Content-Type": _SENT_TYPES[job.input.content_type],
    }
    return {name: value for name, value in carried.items() if value}


async def _outcome(algorithm: Algorithm, response: ClientResponse) -> Payload | RunError:
    status = response.status
    if 200 <= status < 300:
        body = await _body(response, OUTPUT_BYTES_MAX)
        return too_large(len(body)) if len(body) > OUTPUT_BYTES_MAX else _payload(response, body)
    excerpt = (await _body(response, EXCERPT_BYTES_MAX))[:EXCERPT_BYTES_MAX]
    message = f"the endpoint of {algorithm.full_name} answered {status}"
    if status == _OVERLOADED:
        retry_after_s = _retry_after_s(response.headers.get("Retry-After"))
        raise Overloaded(f"{message}: try again later.", retry_after_s=retry_after_s)
    if status in _TRY_AGAIN or status in _NOT_THERE:
        raise Unavailable(f"{message}: try again later.")
    if status >= _SERVER_ERROR:
        raise EndpointFailed(f"{message}: try again later, or mend the endpoint.")
    words = excerpt.decode("utf-8", "replace").strip()
    return RunError(message=f"{message}: {words}" if words else message, error_type=ALGORITHM_ERROR)


def _payload(response: ClientResponse, body: bytes) -> Payload | RunError:
    media_type = response.content_type.lower()
    try:
        if not body:
            return Payload(content_type=ContentType.JSON, data=b"null")
        if media_type == "application/json" or media_type.endswith("+json"):
            return Payload(content_type=ContentType.JSON, data=compact_json(body))
        if media_type.startswith("text/"):
            text = body.decode(response.charset or "utf-8")
            return Payload(content_type=ContentType.TEXT, data=text.encode())
    except (ValueError, LookupError) as error:
        return RunError(
            message=f"the endpoint's answer is not the {media_type} that it says: {error}",
            error_type=PARSING_ERROR,
        )
    return Payload(content_type=ContentType.BINARY, data=body)


async def _body(response: ClientResponse, bytes_max: int) -> bytes:
    """All of it, or a little more than `bytes_max` of a longer one."""
    chunks, size_bytes = [], 0
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        chunks.append(chunk)
        size_bytes += len(chunk)
        if size_bytes > bytes_max:
            response.close()
            break
    return b"".join(chunks)


def _away(algorithm: Algorithm, error: Exception) -> Unavailable:
    return Unavailable(
        f"The endpoint of {algorithm.full_name} cannot be reached ({type(error).__name__}): "
        "try again later."
    )


def _retry_after_s(text: str | None) -> float:
    """Delta seconds; the form with a date is answered with our own default."""
    try:
        seconds = float(text or "")
    except ValueError:
        return OVERLOAD_RETRY_AFTER_S
    return min(seconds, RETRY_AFTER_MAX_S) if seconds >= 0 else OVERLOAD_RETRY_AFTER_S
