"""Running an algorithm over REST: bytes in, bytes out, nothing parsed on the way."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack

from servicekit.logs import current_trace
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.application.run import Run, run_algorithm
from gateway.entrypoints.rest.call import IDEMPOTENCY_HEADER, Call
from gateway.entrypoints.rest.operation import KeyKind, Operation
from gateway.ports import RunAnswer


async def run(call: Call, _body: None) -> Response:
    """Run an algorithm: `owner/name`, `owner/name/version` or an id."""
    request = call.request
    repeatable = IDEMPOTENCY_HEADER in request.headers
    trace = current_trace()
    wish = Run(
        target=call.path("target"),
        query=request.url.query,
        headers=request.headers,
        body=request.stream(),
        request_id=f"req-{call.intent().command_id}" if repeatable else call.request_id,
        traceparent=str(trace) if trace is not None else None,
    )
    return await Proxied.of(run_algorithm(call.gateway, call.standard, wish))


class Proxied(StreamingResponse):
    """An answer of the runner on its way through. Whatever ends it also ends the runner's side."""

    def __init__(self, answer: RunAnswer, exits: AsyncExitStack) -> None:
        super().__init__(answer.body, status_code=answer.status, headers=dict(answer.headers))
        self._exits = exits

    @classmethod
    async def of(cls, run: AbstractAsyncContextManager[RunAnswer]) -> Proxied:
        """Waits for the runner's status. Raises what `Runner.run` raises."""
        exits = AsyncExitStack()
        return cls(await exits.enter_async_context(run), exits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._exits:
            await super().__call__(scope, receive, send)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="/v1/algo/{target}",
        name="run",
        summary="Run an algorithm: `owner/name`, `owner/name/version` or an id.",
        key=KeyKind.STANDARD,
        handler=run,
        query=("timeout", "output", "stdout"),
        idempotent=True,
    ),
)
