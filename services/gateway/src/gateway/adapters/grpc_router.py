"""The router's workers by gRPC: any of them answers for all, so ask the next when one is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import grpc.aio
from eventflows.router.v1 import router_pb2, router_pb2_grpc
from kernel.errors import TimedOut, Unavailable

from gateway.adapters.calls import kernel_errors

STATUS_TIMEOUT_S = 3.0
LETTERS_TIMEOUT_S = 10.0
BROKER_TIMEOUT_S = 30.0
"""A worker that connects to a broker that does not answer needs its own time limit first."""

Answer = TypeVar("Answer")


class GrpcRouter:
    """Port `RouterLive`. Starts with the worker that answered last."""

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._stubs = [router_pb2_grpc.RouterStub(channel) for channel in channels]
        self._first = 0

    async def test_connection(self, connection_id: str) -> router_pb2.TestConnectionResponse:
        request = router_pb2.TestConnectionRequest(connection_id=connection_id)
        return await self._ask(lambda stub: stub.TestConnection(request, timeout=BROKER_TIMEOUT_S))

    async def list_topics(self, connection_id: str) -> router_pb2.ListTopicsResponse:
        request = router_pb2.ListTopicsRequest(connection_id=connection_id)
        return await self._ask(lambda stub: stub.ListTopics(request, timeout=BROKER_TIMEOUT_S))

    async def flow_status(self, flow_ids: list[str]) -> router_pb2.GetFlowStatusResponse:
        request = router_pb2.GetFlowStatusRequest(flow_ids=flow_ids)
        return await self._ask(lambda stub: stub.GetFlowStatus(request, timeout=STATUS_TIMEOUT_S))

    async def list_dead_letters(
        self, request: router_pb2.ListDeadLettersRequest
    ) -> router_pb2.ListDeadLettersResponse:
        limit_s = BROKER_TIMEOUT_S if request.own_topic else LETTERS_TIMEOUT_S
        return await self._ask(lambda stub: stub.ListDeadLetters(request, timeout=limit_s))

    async def get_dead_letter(
        self, request: router_pb2.GetDeadLetterRequest
    ) -> router_pb2.GetDeadLetterResponse:
        return await self._ask(lambda stub: stub.GetDeadLetter(request, timeout=BROKER_TIMEOUT_S))

    async def count_dead_letters(
        self, request: router_pb2.CountDeadLettersRequest
    ) -> router_pb2.CountDeadLettersResponse:
        limit_s = BROKER_TIMEOUT_S if request.own_topic else LETTERS_TIMEOUT_S
        return await self._ask(lambda stub: stub.CountDeadLetters(request, timeout=limit_s))

    async def dead_letter_task(self, dead_letter_task_id: str) -> router_pb2.DeadLetterTaskProgress:
        request = router_pb2.GetDeadLetterTaskRequest(dead_letter_task_id=dead_letter_task_id)
        return await self._ask(
            lambda stub: stub.GetDeadLetterTask(request, timeout=STATUS_TIMEOUT_S)
        )

    async def _ask(
        self, call: Callable[[router_pb2_grpc.RouterAsyncStub], Awaitable[Answer]]
    ) -> Answer:
        problem: Unavailable | None = None
        for step in range(len(self._stubs)):
            index = (self._first + step) % len(self._stubs)
            try:
                with kernel_errors():
                    answer = await call(self._stubs[index])
            except Unavailable as error:
                problem = error
                if isinstance(error, TimedOut):
                    break  # the question takes that long; another worker would take as long
            else:
                self._first = index
                return answer
        raise Unavailable("no router worker answers: try again when the router runs") from problem
