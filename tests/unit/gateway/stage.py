"""A gateway on a whole registry in memory: its rules and its log are real, its rows are lists.

The registry answers on a socket of this process, so the gateway's own adapters and the follower are
the ones of production; only PostgreSQL, the router and the runner are missing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import uuid4

from catalog.follow import CatalogFollower
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2, registry_pb2_grpc
from gateway.adapters.grpc_log import GrpcLog
from gateway.adapters.grpc_past import GrpcPast
from gateway.adapters.grpc_registry import GrpcRegistry
from gateway.application.gateway import Gateway
from gateway.application.moments import Moments
from gateway.entrypoints.rest.app import rest_app
from kernel.api_keys import NewKey, new_key
from prometheus_client import CollectorRegistry
from registry.adapters.envelope import Envelope
from registry.adapters.memory_event_store import MemoryEventStore
from registry.adapters.memory_vault import MemoryVault
from registry.bootstrap import Registry, rpc_service
from servicekit.clock import monotonic_s
from servicekit.identity import Identities, ServiceToken
from servicekit.rpc import RpcServer, rpc_channel, rpc_server
from servicekit.settings import HostPort

from tests.unit.gateway.asgi_client import Answer, AsgiClient
from tests.unit.gateway.memory_peers import MemoryRouter, MemoryRunner

PUBLIC_URL = "https://api.example.com"
WAIT_S = 10.0
ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """An account with a standard key."""

    id: str
    name: str
    key: str


@dataclass(kw_only=True)
class Stage:
    """The gateway, its callers and its peers. Names never repeat."""

    gateway: Gateway
    follower: CatalogFollower
    client: AsgiClient
    router: MemoryRouter
    runner: MemoryRunner
    admin_key: str
    admin_id: str
    _numbers: count[int] = field(default_factory=count)

    def name(self, word: str = "user") -> str:
        """A name that no other test uses."""
        return f"{word}_{next(self._numbers)}"

    async def owner(self) -> Owner:
        """A new user with a standard key."""
        name = self.name()
        user = await self.admin("POST", "/v1/users", {"username": name, "email": f"{name}@x.io"})
        key = await self.admin("POST", f"/v1/users/{name}/keys", {"key_type": "AlgorithmKey"})
        return Owner(id=user["id"], name=name, key=key["api_key"])

    async def algorithm(self, owner: Owner, *, callability: str = "private") -> str:
        """A new algorithm of the owner with version 0.1.0; returns its name."""
        name = await self.bare_algorithm(owner)
        path = f"/v1/algorithms/{owner.name}/{name}"
        await self.by(owner, "POST", f"{path}/compile", {})
        settings = {"algorithm_callability": callability}
        await self.by(owner, "POST", f"{path}/versions", {"settings": settings})
        return name

    async def bare_algorithm(self, owner: Owner) -> str:
        """A new algorithm of the owner without a build; returns its name."""
        body = {"name": self.name("algo"), "source": {"git_url": "https://git.example.com/r"}}
        made = await self.by(owner, "POST", f"/v1/algorithms/{owner.name}", body, status=201)
        return str(made["name"])

    async def connection(self) -> str:
        """A new plaintext connection; returns its id."""
        body = {
            "name": self.name("broker"),
            "broker_url": "kafka.example.com:9092",
            "connection_type": "kafka_unauthenticated_plaintext",
        }
        made = await self.admin("POST", "/v1/admin/broker-connections", body, status=201)
        return str(made["id"])

    async def grant(self, connection: str, topic: str, *grants: tuple[str, str]) -> None:
        """Replace the grants of a topic: (`owner/name`, API type)."""
        rows = [{"algorithm": name, "api_type": kind} for name, kind in grants]
        path = f"/v1/admin/broker-connections/{connection}/topics/{topic}"
        await self.admin("PUT", path, {"algorithms": rows})

    async def admin(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """Call with the admin key; the decoded answer."""
        return _checked(await self.client.call(method, path, body, key=self.admin_key), status)

    async def all_pages(self, link: str) -> list[dict[str, Any]]:
        """What all pages of a list show to the admin, from this one on."""
        found: list[dict[str, Any]] = []
        while link:
            page = await self.admin("GET", link)
            found += page["results"]
            link = (page["next_link"] or "").removeprefix(PUBLIC_URL)
        return found

    async def by(
        self, owner: Owner, method: str, path: str, body: Any = None, *, status: int = 200
    ) -> Any:
        """Call with the owner's key; the decoded answer."""
        return _checked(await self.client.call(method, path, body, key=owner.key), status)


def _checked(answer: Answer, status: int) -> Any:
    assert answer.status == status, answer.content
    return answer.json if answer.content else None


class StageOwner:
    """Keeps a stage open in a task of its own, since fixtures start and end in different tasks."""

    def __init__(self) -> None:
        self._end = asyncio.Event()
        self._opened: asyncio.Future[Stage] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep())

    async def open(self) -> Stage:
        async with asyncio.timeout(WAIT_S):
            return await self._opened

    async def close(self) -> None:
        self._end.set()
        async with asyncio.timeout(WAIT_S):
            await self._task

    async def _keep(self) -> None:
        try:
            async with opened_stage() as stage:
                self._opened.set_result(stage)
                await self._end.wait()
        except BaseException as error:
            if not self._opened.done():
                self._opened.set_exception(error)
            raise


@asynccontextmanager
async def opened_stage() -> AsyncIterator[Stage]:
    """A fresh registry with one admin, and a gateway that follows it."""
    token = ServiceToken(secrets.token_urlsafe(32))
    async with AsyncExitStack() as exits:
        server = await exits.enter_async_context(_registry(token))
        channel = await exits.enter_async_context(rpc_channel(server.address, token))
        follower = CatalogFollower(channel, clock=monotonic_s)
        following = asyncio.create_task(follower.run())
        exits.push_async_callback(_cancelled, following)
        router, runner = MemoryRouter(), MemoryRunner()
        gateway = Gateway(
            view=follower,
            moments=Moments(GrpcPast(channel)),
            registry=GrpcRegistry(channel),
            log=GrpcLog(channel),
            router=router,
            runner=runner,
            public_url=PUBLIC_URL,
            choose=secrets.choice,
        )
        admin_id, key = await first_admin(registry_pb2_grpc.RegistryStub(channel))
        async with asyncio.timeout(WAIT_S):
            await follower.caught_up.wait()
        await follower.wait_for(2, timeout_s=WAIT_S)
        yield Stage(
            gateway=gateway,
            follower=follower,
            client=AsgiClient(rest_app(gateway)),
            router=router,
            runner=runner,
            admin_key=key.clear,
            admin_id=admin_id,
        )


@asynccontextmanager
async def _registry(token: ServiceToken) -> AsyncIterator[RpcServer]:
    envelope = Envelope(secrets.token_bytes(32))
    store, vault = MemoryEventStore(), MemoryVault(envelope)
    registry = Registry.over(store, vault, collector=CollectorRegistry())
    server = rpc_server(
        listen=HostPort("127.0.0.1", 0),
        identities=Identities.of({"gateway": token.sha256_hex}),
        services=[rpc_service(registry, vault)],
    )
    async with registry.running(), server:
        try:
            yield server
        finally:
            registry.head.close()


async def first_admin(registry: Any) -> tuple[str, NewKey]:
    """The first account, with an admin key, over the registry's gRPC."""
    account_id, key = str(uuid4()), new_key(secrets.choice)
    await registry.CreateAccount(
        registry_pb2.CreateAccountRequest(
            context=_context(), account_id=account_id, kind=events_pb2.ACCOUNT_KIND_USER,
            username=ADMIN, email="admin@example.com",
        )
    )  # fmt: skip
    await registry.CreateApiKey(
        registry_pb2.CreateApiKeyRequest(
            context=_context(), account_id=account_id, key_id=str(uuid4()), label="first",
            key_type=events_pb2.KEY_TYPE_ADMIN, key_sha256=key.sha256, mask=key.mask,
        )
    )  # fmt: skip
    return account_id, key


def _context() -> registry_pb2.CommandContext:
    return registry_pb2.CommandContext(command_id=str(uuid4()), actor="service:gateway")


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
