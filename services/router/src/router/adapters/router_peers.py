"""Asks other workers by gRPC, with our own service token and a short deadline."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime

import grpc.aio
from eventflows.router.v1 import router_pb2
from eventflows.router.v1.router_pb2_grpc import RouterStub
from google.protobuf.timestamp_pb2 import Timestamp
from servicekit.identity import ServiceToken
from servicekit.rpc import raise_from_status, rpc_channel

from router.control_ports import WorkerEntry
from router.domain.dead_letter_task import TaskProgress
from router.domain.flow_report import FlowReport, ReportState

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


def report_from_message(message: router_pb2.FlowStatus) -> FlowReport:
    """What another worker said. A state that this release does not know reads as unknown."""
    return FlowReport(
        flow_id=message.flow_id,
        state=_STATES.get(message.state, ReportState.UNKNOWN),
        reason=message.reason,
        since=_time(message.since) if message.HasField("since") else None,
        last_progress=_time(message.last_progress) if message.HasField("last_progress") else None,
        worker=message.worker,
        lag_records=message.lag_records,
        in_flight=message.in_flight,
        settled_total=message.settled_total,
        dead_lettered_total=message.dead_lettered_total,
        retries_total=message.retries_total,
        partitions=message.partitions,
        lag_s=message.lag_s,
        oldest_unsettled_s=message.oldest_unsettled_s,
        settled_per_s=message.settled_per_s,
        error_ratio=message.error_ratio,
        repeats_total=message.repeats_total,
        halted_keys=message.halted_keys,
        bytes_held=message.bytes_held,
        healthy=message.healthy,
        instances=message.instances,
        instance=message.instance,
    )


_STATES = {
    router_pb2.FLOW_STATE_STARTING: ReportState.STARTING,
    router_pb2.FLOW_STATE_RUNNING: ReportState.RUNNING,
    router_pb2.FLOW_STATE_BACKING_OFF: ReportState.BACKING_OFF,
    router_pb2.FLOW_STATE_DRAINING: ReportState.DRAINING,
    router_pb2.FLOW_STATE_PAUSED: ReportState.PAUSED,
    router_pb2.FLOW_STATE_HALTED: ReportState.HALTED,
    router_pb2.FLOW_STATE_PAUSED: ReportState.PAUSED,
    router_pb2.FLOW_STATE_HALTED: ReportState.HALTED,
    router_pb2.FLOW_STATE_STOPPED: ReportState.STOPPED,
    router_pb2.FLOW_STATE_FAILED: ReportState.FAILED,
    router_pb2.FLOW_STATE_BLOCKED: ReportState.BLOCKED,
}


def _time(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=UTC)
