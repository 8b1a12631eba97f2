"""The real registry lets in whom the role table names, and nobody else."""

from __future__ import annotations

from eventflows.registry.v1 import registry_pb2

from tests.support.permissions import assert_only_allowed_roles
from tests.support.registry import Served


async def test_every_method_refuses_every_role_that_it_is_not_for(registry: Served) -> None:
    await assert_only_allowed_roles(
        registry.address, registry_pb2.DESCRIPTOR.services_by_name["Registry"], registry.tokens()
    )
