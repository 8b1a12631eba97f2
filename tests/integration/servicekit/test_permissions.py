"""Every method of every internal service, as every role and as nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from eventflows.registry.v1 import registry_pb2, registry_pb2_grpc
from eventflows.router.v1 import router_pb2, router_pb2_grpc
from eventflows.runner.v1 import runner_pb2, runner_pb2_grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from servicekit.identity import ROLES, Identities, create_identities
from servicekit.rpc import RpcService, rpc_server
from servicekit.settings import HostPort

from tests.support.permissions import assert_only_allowed_roles

REGISTRY = registry_pb2.DESCRIPTOR.services_by_name["Registry"]
ROUTER = router_pb2.DESCRIPTOR.services_by_name["Router"]
RUNNER = runner_pb2.DESCRIPTOR.services_by_name["Runner"]


def answering_servicer(descriptor: ServiceDescriptor) -> object:
    """A servicer whose every method answers an empty message: only the identity check refuses."""

    def unary(answer: Any) -> Any:
        async def call(_self: object, _request: object, _context: object) -> Any:
            return answer

        return call

    def stream(answer: Any) -> Any:
        async def call(_self: object, _request: object, _context: object) -> Any:
            yield answer

        return call

    methods = {
        method.name: (stream if method.server_streaming else unary)(
            GetMessageClass(method.output_type)()
        )
        for method in descriptor.methods
    }
    return type("AnsweringServicer", (), methods)()


@pytest.mark.parametrize(
    ("descriptor", "add_to_server"),
    [
        (REGISTRY, registry_pb2_grpc.add_RegistryServicer_to_server),
        (ROUTER, router_pb2_grpc.add_RouterServicer_to_server),
        (RUNNER, runner_pb2_grpc.add_RunnerServicer_to_server),
    ],
    ids=["registry", "router", "runner"],
)
async def test_only_the_roles_of_the_table_may_call(
    descriptor: ServiceDescriptor, add_to_server: Any, tmp_path: Path
) -> None:
    files = create_identities(tmp_path)
    tokens = {role: files.tokens[role].read_text().strip() for role in ROLES}
    server = rpc_server(
        listen=HostPort("127.0.0.1", 0),
        identities=Identities.load(files.identities),
        services=[RpcService(descriptor, add_to_server, answering_servicer(descriptor))],
    )
    async with server:
        await assert_only_allowed_roles(server.address, descriptor, tokens)


async def test_the_matrix_notices_a_server_that_lets_everybody_in(tmp_path: Path) -> None:
    class Nothing(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
        async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
            return await continuation(handler_call_details)

    server = rpc_server(
        listen=HostPort("127.0.0.1", 0),
        identities=None,
        interceptors=[Nothing()],
        services=[
            RpcService(
                RUNNER, runner_pb2_grpc.add_RunnerServicer_to_server, answering_servicer(RUNNER)
            )
        ],
    )
    files = create_identities(tmp_path)
    tokens = {role: files.tokens[role].read_text().strip() for role in ROLES}
    async with server:
        with pytest.raises(AssertionError, match="Build"):
            await assert_only_allowed_roles(server.address, RUNNER, tokens)
