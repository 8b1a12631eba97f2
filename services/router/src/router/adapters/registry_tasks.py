"""Tells the registry that a dead letter task was carried out."""

from __future__ import annotations

from uuid import uuid5

import grpc.aio
from catalog.identifiers import EVENTFLOWS_NAMESPACE
from eventflows.registry.v1.registry_pb2 import CommandContext, FinishDeadLetterTaskRequest
from eventflows.registry.v1.registry_pb2_grpc import RegistryStub
from kernel.errors import EventflowsError, NotFound, StateForbids, Unavailable
from servicekit.rpc import raise_from_status

CALL_TIMEOUT_S = 10.0
ACTOR = "service:router"


class RegistryTasks:
    """`TaskEnds` by `registry.v1.FinishDeadLetterTask`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._registry = RegistryStub(channel)

    async def finish(self, task_id: str, *, succeeded: int, failed: int, problem: str) -> None:
        """The command's id is derived from the task's, so whoever says it again changes nothing."""
        request = FinishDeadLetterTaskRequest(
            context=CommandContext(
                command_id=str(uuid5(EVENTFLOWS_NAMESPACE, f"finish-task/{task_id}")), actor=ACTOR
            ),
            dead_letter_task_id=task_id,
            succeeded=succeeded,
            failed=failed,
            problem=problem,
        )
        try:
            await self._finish(request)
        except (StateForbids, NotFound):
            return  # it was cancelled, or ended long ago
        except Unavailable:
            raise
        except EventflowsError as error:
            raise Unavailable(
                f"the registry does not take a task's end: {error.message}"
            ) from error

    async def _finish(self, request: FinishDeadLetterTaskRequest) -> None:
        try:
            await self._registry.FinishDeadLetterTask(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise_from_status(error)
