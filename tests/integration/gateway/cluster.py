"""A devstack cluster for the tests of the gateway: an admin, owners, algorithms that are models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count

from devstack import Kafka
from devstack.cluster import Cluster as DevstackCluster
from devstack.rest import Rest
from devstack.service import Service

_numbers = count()


@dataclass(frozen=True, kw_only=True)
class Owner:
    """An account with a standard key, and a caller that uses it."""

    id: str
    name: str
    key: str
    rest: Rest


@dataclass(kw_only=True)
class Cluster:
    """Everything runs. `admin` calls REST with the first admin's key."""

    devstack: DevstackCluster
    admin_key: str
    admin: Rest
    exits: AsyncExitStack

    @property
    def registry(self) -> Service:
        return self.devstack.registry

    @property
    def rest(self) -> Service:
        return self.devstack.rest

    @property
    def rpc(self) -> Service:
        return self.devstack.rpc

    @property
    def kafka(self) -> Kafka:
        """The cluster's own, which a broker connection may point to as well."""
        return self.devstack.kafka

    @property
    def rest_url(self) -> str:
        return self.devstack.rest_url

    async def owner(self) -> Owner:
        """A new user with a standard key."""
        name = f"owner_{next(_numbers)}"
        user = await self.admin.post("/v1/users", {"username": name, "email": f"{name}@x.io"})
        made = await self.admin.post(f"/v1/users/{name}/keys", {"key_type": "AlgorithmKey"})
        rest = await self.exits.enter_async_context(Rest(self.rest_url, made["api_key"]))
        return Owner(id=user["id"], name=name, key=made["api_key"], rest=rest)

    async def endpoint_algorithm(self, owner: Owner, url: str, *, callability: str) -> str:
        """An algorithm that is an HTTP service, published as 0.1.0: its name."""
        name = f"Algo_{next(_numbers)}"
        path = f"/v1/algorithms/{owner.name}"
        await owner.rest.post(path, {"name": name, "source": {"endpoint_url": url}})
        built = await owner.rest.post(f"{path}/{name}/compile", {})
        assert built["compilation"]["successful"], built
        settings = {"algorithm_callability": callability}
        await owner.rest.post(f"{path}/{name}/versions", {"settings": settings})
        return name


@asynccontextmanager
async def running_cluster() -> AsyncIterator[Cluster]:
    """All processes, ready; they end with the context."""
    async with AsyncExitStack() as exits:
        devstack = await exits.enter_async_context(DevstackCluster(customer=False))
        key = await devstack.first_admin()
        admin = await exits.enter_async_context(Rest(devstack.rest_url, key))
        yield Cluster(devstack=devstack, admin_key=key, admin=admin, exits=exits)
