"""The gRPC server of `gateway.v1`."""

from __future__ import annotations

from eventflows.gateway.v1 import gateway_pb2
from eventflows.gateway.v1.gateway_pb2_grpc import (
    add_DeadLettersServicer_to_server,
    add_EventFlowsServicer_to_server,
    add_EventListenersServicer_to_server,
    add_UsersServicer_to_server,
)
from servicekit.rpc import RECORD_ANSWER_BYTES_MAX, RpcServer, RpcService, rpc_server
from servicekit.settings import HostPort

from gateway.application.gateway import Gateway
from gateway.entrypoints.rpc.authentication import ApiKeyInterceptor
from gateway.entrypoints.rpc.letter_servicer import DeadLettersServicer
from gateway.entrypoints.rpc.requests import Wishes
from gateway.entrypoints.rpc.servicers import (
    EventFlowsServicer,
    EventListenersServicer,
    UsersServicer,
)


def gateway_server(gateway: Gateway, *, listen: HostPort) -> RpcServer:
    """The server, not started yet. Health says NOT_SERVING until it is told otherwise."""
    services = gateway_pb2.DESCRIPTOR.services_by_name
    wishes = Wishes()
    return rpc_server(
        listen=listen,
        identities=None,
        interceptors=[ApiKeyInterceptor(gateway)],
        serving=False,
        answer_bytes_max=RECORD_ANSWER_BYTES_MAX,
        services=[
            RpcService(
                services["Users"], add_UsersServicer_to_server, UsersServicer(gateway, wishes)
            ),
            RpcService(
                services["EventListeners"],
                add_EventListenersServicer_to_server,
                EventListenersServicer(gateway, wishes),
            ),
            RpcService(
                services["EventFlows"],
                add_EventFlowsServicer_to_server,
                EventFlowsServicer(gateway, wishes),
            ),
            RpcService(
                services["DeadLetters"],
                add_DeadLettersServicer_to_server,
                DeadLettersServicer(gateway, wishes),
            ),
        ],
    )
