"""Asks other workers by gRPC, with our own service token and a short deadline."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import grpc.aio
from eventflows.router.v1 import router_pb2
from eventflows.router.v1.router_pb2_grpc import RouterStub
from servicekit.identity import ServiceToken
from servicekit.rpc import raise_from_status, rpc_channel

from router.control_ports import WorkerEntry
from router.domain.dead_letter_task import TaskProgress
from router.domain.flow_report import FlowReport
from router.flow_report_message import report_from_message

PEER_TIMEOUT_S = 2.0
CHANNELS_MAX = 128


class RouterPeers:
    """Calls to other workers; one channel for each address, closed by `close`."""

    def __init__(self, token: ServiceToken) -> None:
        self._token = token
        self._channels: OrderedDict[str, grpc.aio.Channel] = OrderedDict()

    async def flow_reports(self, worker: WorkerEntry, flow_ids: Sequence[str]) -> list[FlowReport]:
        """What that worker itself knows. Raises Unavailable, TimedOut, and what it answers."""
        request = router_pb2.GetFlowStatusRequest(flow_ids=flow_ids, local_only=True)
        stub = RouterStub(await self._channel(worker.address))
        try:
            answer = await stub.GetFlowStatus(request, timeout=PEER_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise_from_status(error)
        return [report_from_message(message) for message in answer.flows]

    async def dead_letter_task(self, worker: WorkerEntry, task_id: str) -> TaskProgress:
        """What that worker itself does for a task. Raises NotFound, and as `flow_reports`."""
        request = router_pb2.GetDeadLetterTaskRequest(dead_letter_task_id=task_id, local_only=True)
        stub = RouterStub(await self._channel(worker.address))
        try:
            answer = await stub.GetDeadLetterTask(request, timeout=PEER_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise_from_status(error)
        return TaskProgress(
            task_id=answer.dead_letter_task_id,
            state=answer.state,
            reason=answer.reason,
            succeeded=answer.succeeded,
            failed=answer.failed,
            left=answer.left,
            worker=answer.worker,
        )

    async def close(self) -> None:
        """Close every channel. Harmless twice."""
        while self._channels:
            _, channel = self._channels.popitem()
            await channel.close(None)

    async def _channel(self, address: str) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = rpc_channel(address, self._token)
        self._channels.move_to_end(address)
        if len(self._channels) > CHANNELS_MAX:  # addresses of workers that are long gone
            _, oldest = self._channels.popitem(last=False)
            await oldest.close(None)
        return channel
