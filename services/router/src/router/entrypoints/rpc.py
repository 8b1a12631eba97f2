"""router.v1: the live questions. Every worker answers all of them."""

from __future__ import annotations

from typing import Any

from catalog.errors import SECRET_GONE
from eventflows.router.v1 import router_pb2
from kernel.errors import InvalidInput, StateForbids

from router.application.connections import PROBE_MAX_S, Connections
from router.application.dead_letter_desk import DeadLetterDesk
from router.application.dead_letter_tasks import DeadLetterTasks
from router.application.flow_status import FLOW_IDS_MAX, FlowStatusQuery
from router.domain.errors import CredentialsMissing
from router.entrypoints.dead_letter_rpc import DeadLetterRpc
from router.flow_report_message import message_of

ID_CHARACTERS_MAX = 128
NO_ANSWER = f"the cluster did not answer within {PROBE_MAX_S:g} s; check addresses and firewalls"


class RouterRpc(DeadLetterRpc):
    """The servicer. Errors of `kernel.errors` become statuses in servicekit's interceptor."""

    def __init__(
        self,
        *,
        connections: Connections,
        flow_status: FlowStatusQuery,
        dead_letters: DeadLetterDesk | None = None,
        dead_letter_tasks: DeadLetterTasks | None = None,
    ) -> None:
        super().__init__(dead_letters, dead_letter_tasks)
        self._connections = connections
        self._flow_status = flow_status

    async def TestConnection(  # noqa: N802
        self, request: router_pb2.TestConnectionRequest, context: Any
    ) -> router_pb2.TestConnectionResponse:
        """Raises NotFound, InvalidInput, Unavailable."""
        try:
            report = await self._connections.test(_checked_id(request.connection_id))
        except TimeoutError:
            return router_pb2.TestConnectionResponse(problem=NO_ANSWER, duration_s=PROBE_MAX_S)
        except CredentialsMissing as error:  # the connection exists, and this is its trouble
            return router_pb2.TestConnectionResponse(problem=error.message)
        return router_pb2.TestConnectionResponse(
            connected=report.connected,
            problem=report.problem,
            brokers=report.brokers,
            topics=report.topics,
            duration_s=report.duration_s,
        )

    async def ListTopics(  # noqa: N802
        self, request: router_pb2.ListTopicsRequest, context: Any
    ) -> router_pb2.ListTopicsResponse:
        """Raises NotFound, InvalidInput, StateForbids with the cause, Unavailable."""
        try:
            topics = await self._connections.topics(_checked_id(request.connection_id))
        except TimeoutError as error:
            raise StateForbids(NO_ANSWER) from error
        except CredentialsMissing as error:
            raise StateForbids(error.message, code=SECRET_GONE) from error
        return router_pb2.ListTopicsResponse(
            topics=[router_pb2.Topic(name=one.name, partitions=one.partitions) for one in topics]
        )

    async def GetFlowStatus(  # noqa: N802
        self, request: router_pb2.GetFlowStatusRequest, context: Any
    ) -> router_pb2.GetFlowStatusResponse:
        """Raises InvalidInput. A flow that does not exist is left out."""
        if len(request.flow_ids) > FLOW_IDS_MAX:
            raise InvalidInput(f"Ask for at most {FLOW_IDS_MAX} flows at once, or for all.")
        flow_ids = [_checked_id(flow_id) for flow_id in request.flow_ids]
        if request.local_only:
            answer = self._flow_status.own(flow_ids)
        else:
            answer = await self._flow_status.everywhere(flow_ids)
        return router_pb2.GetFlowStatusResponse(
            flows=[message_of(report) for report in answer.flows],
            unreachable_workers=answer.unreachable_workers,
        )


def _checked_id(text: str) -> str:
    if not 0 < len(text) <= ID_CHARACTERS_MAX or not text.isprintable():
        raise InvalidInput(f"An id is 1 to {ID_CHARACTERS_MAX} printable characters.")
    return text
