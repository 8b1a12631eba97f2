"""Our services as processes around a gateway: registry, runner, router, REST and gRPC."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from devstack import Kafka, Postgres
from devstack.first_admin import create_first_admin
from devstack.ports import free_ports
from devstack.rest import Rest
from devstack.secret_files import SecretFiles
from devstack.service import Service, answers_http, serves_grpc

from tests.support.registry import environment, fresh_database

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
    """Where everything is. `admin` calls REST with the first admin's key."""

    registry: Service
    runner: Service
    router: Service
    rest: Service
    rpc: Service
    rest_url: str
    rpc_address: str
    rest_metrics_url: str
    admin_key: str
    admin: Rest
    exits: AsyncExitStack

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
async def running_cluster(postgres: Postgres, kafka: Kafka, folder: Path) -> AsyncIterator[Cluster]:
    """All processes, ready; they end with the context."""
    secrets = SecretFiles(folder / "secrets")
    ports = [f"127.0.0.1:{port}" for port in free_ports(12)]
    registry_at, runner_at, runner_rpc_at, router_at, router_web_at, rest_at, rpc_at = ports[:7]
    database = await fresh_database(postgres)

    def service(
        module: str, *words: str, name: str, role: str, metrics: str, probe: Any, **settings: str
    ) -> Service:
        identity = {
            "service_token_file": str(secrets.token(role)),
            "identities_file": str(secrets.identities),
            "metrics_listen": metrics,
        }
        log_path = folder / f"{name}.log"
        return Service(
            module, *words, name=name, settings=settings | identity, log_path=log_path, probe=probe
        )

    prefix = "EVENTFLOWS_REGISTRY_"
    of_registry = {
        variable.removeprefix(prefix).lower(): value
        for variable, value in environment(database, folder / "secrets").items()
    }
    del of_registry["service_token_file"], of_registry["identities_file"]
    del of_registry["metrics_listen"], of_registry["owner_dsn_file"]
    registry = service(
        "registry", name="registry", role="registry", metrics=ports[7],
        probe=serves_grpc(registry_at), **(of_registry | {"listen": registry_at}),
    )  # fmt: skip
    runner = service(
        "runner", name="runner", role="runner", metrics=ports[8],
        probe=answers_http(f"http://{runner_at}/healthz"), http_listen=runner_at,
        rpc_listen=runner_rpc_at, registry_address=registry_at,
        kafka_bootstrap_servers=kafka.bootstrap_servers, data_dir=str(folder / "runner"),
    )  # fmt: skip
    router = service(
        "router", name="router", role="router", metrics=ports[9],
        probe=answers_http(f"http://{router_web_at}/health"), rpc_listen=router_at,
        web_listen=router_web_at, registry_address=registry_at, runner_url=f"http://{runner_at}",
        kafka_bootstrap_servers=kafka.bootstrap_servers, data_dir=str(folder / "router"),
        group_prefix="gateway-tests",
    )  # fmt: skip
    of_gateway = {
        "rest_listen": rest_at,
        "rpc_listen": rpc_at,
        "registry_address": registry_at,
        # The first one is nobody: questions go to the next.
        "router_addresses": f"127.0.0.1:{_unused_port()},{router_at}",
        "runner_url": f"http://{runner_at}",
        "runner_address": runner_rpc_at,
        "public_url": f"http://{rest_at}/",
    }
    rest = service(
        "gateway", "rest", name="rest", role="gateway", metrics=ports[10],
        probe=answers_http(f"http://{rest_at}/readyz"), **of_gateway,
    )  # fmt: skip
    rpc = service(
        "gateway", "rpc", name="rpc", role="gateway", metrics=ports[11],
        probe=serves_grpc(rpc_at), **of_gateway,
    )  # fmt: skip
    async with AsyncExitStack() as exits:
        for one in (registry, runner, router, rest, rpc):
            exits.push_async_callback(one.stop)
        await registry.start()
        for one in (runner, router, rest, rpc):
            one.spawn()
        for one in (runner, router, rest, rpc):
            await one.ready()
        key = await create_first_admin(registry.environment)
        admin = await exits.enter_async_context(Rest(f"http://{rest_at}", key))
        await admin.wait_known()
        yield Cluster(
            registry=registry, runner=runner, router=router, rest=rest, rpc=rpc,
            rest_url=f"http://{rest_at}", rpc_address=rpc_at,
            rest_metrics_url=f"http://{ports[10]}/metrics", admin_key=key, admin=admin, exits=exits,
        )  # fmt: skip


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
