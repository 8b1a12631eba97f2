"""The runner: runs by HTTP, streamed both ways; builds by gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp
import grpc.aio
from eventflows.runner.v1 import runner_pb2, runner_pb2_grpc
from kernel.errors import EventflowsError, TimedOut, Unavailable
from servicekit.identity import ServiceToken
from yarl import URL

from gateway.adapters.calls import kernel_errors
from gateway.ports import RunAnswer, RunRequest

BUILD_TIMEOUT_S = 600.0
CONNECT_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 1_000
CHUNK_BYTES = 64 * 1024
REFUSED_STATUSES = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
"""The runner says them only of the gateway's own token: that is no fault of the caller."""
ANSWER_HEADERS = ("content-type", "retry-after", "x-error-message", "x-data-type")


class HttpRunner:
    """Port `Runner`. Close the session when done."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        url: str,
        token: ServiceToken,
        channel: grpc.aio.Channel,
    ) -> None:
        self._session = session
        self._url = url
        self._token = token
        self._builds = runner_pb2_grpc.RunnerStub(channel)

    @asynccontextmanager
    async def run(self, request: RunRequest) -> AsyncIterator[RunAnswer]:
        body = _Body(request.body)
        try:
            async with self._session.post(
                self._target(request),
                data=body.chunks(),
                headers={**request.headers, "Authorization": self._token.authorization},
                timeout=aiohttp.ClientTimeout(
                    total=request.timeout_s, sock_connect=CONNECT_TIMEOUT_S
                ),
            ) as response:
                if response.status in REFUSED_STATUSES:
                    raise EventflowsError("the runner refuses the gateway's own service token")
                yield RunAnswer(
                    status=response.status,
                    headers={
                        n: response.headers[n] for n in ANSWER_HEADERS if n in response.headers
                    },
                    body=response.content.iter_chunked(CHUNK_BYTES),
                )
        except TimeoutError as error:
            raise TimedOut(
                f"the runner did not answer within {request.timeout_s:g} s: the run may go on"
            ) from error
        except aiohttp.ClientError as error:
            if body.problem is not None:
                raise body.problem from error
            raise Unavailable("the runner cannot be reached: try again later") from error

    async def build(self, request: runner_pb2.BuildRequest) -> runner_pb2.BuildResponse:
        with kernel_errors():
            return await self._builds.Build(request, timeout=BUILD_TIMEOUT_S)

    def _target(self, request: RunRequest) -> URL:
        path = f"{self._url}/v1/algo/{request.owner}/{request.name}/{request.version}"
        query = f"?{request.query}" if request.query else ""
        return URL(path + query, encoded=True)


class _Body:
    """The request's chunks; keeps what went wrong with them, which aiohttp's own errors hide."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.problem: EventflowsError | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                yield chunk
        except EventflowsError as error:
            self.problem = error
            raise
