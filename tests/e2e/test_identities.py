"""Who may call what, tried on the real processes: each has one table, and none forgot to use it."""

from __future__ import annotations

from eventflows.registry.v1 import registry_pb2
from eventflows.router.v1 import router_pb2
from eventflows.runner.v1 import runner_pb2
from servicekit.identity import ROLES

from tests.e2e.conftest import Landscape
from tests.support.permissions import assert_only_allowed_roles


async def test_every_rpc_of_every_process_refuses_every_other_role(landscape: Landscape) -> None:
    cluster = landscape.cluster
    tokens = {role: cluster.secrets.token(role).read_text().strip() for role in ROLES}
    services = [
        (cluster.registry_address, registry_pb2.DESCRIPTOR.services_by_name["Registry"]),
        (cluster.runner_address, runner_pb2.DESCRIPTOR.services_by_name["Runner"]),
        *(
            (address, router_pb2.DESCRIPTOR.services_by_name["Router"])
            for address in cluster.router_addresses
        ),
    ]
    for address, service in services:
        await assert_only_allowed_roles(address, service, tokens)
