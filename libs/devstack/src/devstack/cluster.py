"""A whole Event Flows cluster on this machine: real servers, our services as processes.

What `make up`, the demo, the end-to-end tests and the benchmarks run on. Everything dies with us.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from devstack.data_dir import DataDir
from devstack.errors import ToolFailed
from devstack.first_admin import create_first_admin
from devstack.kafka import Kafka
from devstack.ports import free_ports
from devstack.postgres import Postgres
from devstack.rest import Rest
from devstack.secret_files import SecretFiles
from devstack.service import Service, answers_http, serves_grpc

DATABASE = "eventflows_devstack"
DEAD_LETTER_DATABASE = "eventflows_dead_letters"
DEAD_LETTER_LOGIN = "dead_letters_app"


class Cluster:
    """PostgreSQL, our Kafka, a customer's Kafka, registry, runner, routers, gateway.

    Use as an async context manager from the main thread. `extra` adds settings by service, for
    example `{"runner": {"sessions_per_account_max": "2"}}`; `cpus` pins services by name.
    `customer_kafka` stands in place of the usual one, which asks for SCRAM over TLS, and
    `router_program` in place of `router`, for tests that give it another clock.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        routers: int = 1,
        customer: bool = True,
        extra: Mapping[str, Mapping[str, str]] | None = None,
        cpus: Mapping[str, set[int]] | None = None,
        customer_kafka: Kafka | None = None,
        router_program: str | None = None,
    ) -> None:
        self._folder = DataDir(data_dir, name="cluster")
        self.data_dir = self._folder.path
        self.secrets = SecretFiles(self.data_dir / "secrets")
        self.postgres = Postgres.from_environment(self.data_dir / "postgres")
        self.kafka = Kafka(self.data_dir / "kafka", name="kafka")
        self.customer_kafka = customer_kafka or Kafka(
            self.data_dir / "customer-kafka", name="customer-kafka", security="SASL_SSL"
        )
        self._programs = {"router": router_program}
        self._customer = customer
        self._extra = {name: dict(settings) for name, settings in (extra or {}).items()}
        self._cpus = dict(cpus or {})
        self._exits = AsyncExitStack()
        ports = iter(free_ports(10 + 3 * routers))
        self.registry_address = f"127.0.0.1:{next(ports)}"
        self.runner_url = f"http://127.0.0.1:{next(ports)}"
        self.runner_address = f"127.0.0.1:{next(ports)}"
        self.rest_url = f"http://127.0.0.1:{next(ports)}"
        self.gateway_address = f"127.0.0.1:{next(ports)}"
        self._metrics = {
            name: f"127.0.0.1:{next(ports)}" for name in ("registry", "runner", "rest", "rpc")
        }
        self._router_ports = [(next(ports), next(ports), next(ports)) for _ in range(routers)]
        self.registry: Service
        self.runner: Service
        self.routers: list[Service] = []
        self.rest: Service
        self.rpc: Service

    @property
    def router_addresses(self) -> list[str]:
        """gRPC addresses of the router's workers."""
        return [f"127.0.0.1:{rpc}" for rpc, _, _ in self._router_ports]

    def router_health_url(self, index: int = 0) -> str:
        """Health page of one worker."""
        return f"http://127.0.0.1:{self._router_ports[index][1]}/health"

    def metrics_url(self, name: str) -> str:
        """Prometheus page of `registry`, `runner`, `rest`, `rpc` or `router-<n>`."""
        if name.startswith("router-"):
            return f"http://127.0.0.1:{self._router_ports[int(name[7:])][2]}/metrics"
        return f"http://{self._metrics[name]}/metrics"

    @property
    def services(self) -> list[Service]:
        """All our processes, in the order of their start."""
        return [self.registry, self.runner, *self.routers, self.rest, self.rpc]

    async def __aenter__(self) -> Self:
        try:
            await self.start_servers()
            await self.start_services()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def first_admin(self) -> str:
        """Make the first admin; returns its key, which the REST API knows by then."""
        key = await create_first_admin(self.registry.environment)
        async with Rest(self.rest_url, key) as rest:
            await rest.wait_known()
        return key

    def write_profile(self, path: Path) -> None:
        """A profile file for the `eventflows` command, with the operator's key of this cluster."""
        key_file = json.dumps(str(self.secrets.token("operator").resolve()))  # TOML's form too
        path.write_text(
            'default = "devstack"\n\n[profiles.devstack]\n'
            f'address = "{self.registry_address}"\nkey_file = {key_file}\n'
            f'router_address = "{self.router_addresses[0]}"\n'
        )

    async def close(self) -> None:
        """Stop everything in reverse order; temporary data goes. Harmless twice."""
        await self._exits.aclose()
        self._folder.discard()

    async def start_servers(self) -> None:
        """PostgreSQL and the Kafka clusters, at the same time."""
        servers: list[Postgres | Kafka] = [self.postgres, self.kafka]
        if self._customer:
            servers.append(self.customer_kafka)
        for server in servers:
            self._exits.push_async_callback(self._stop_server, server)
        async with asyncio.TaskGroup() as starts:
            for server in servers:
                starts.create_task(server.start())

    async def _stop_server(self, server: Postgres | Kafka) -> None:
        """A clean stop of Kafka takes seconds, for data that nobody will read if it goes."""
        if self._folder.is_temporary and isinstance(server, Kafka) and server.is_running:
            server.kill()
        await server.stop()

    async def start_services(self) -> None:
        """Migrate the database, then start our processes; returns when all are ready."""
        await self._migrate()
        self._define_services()
        for service in self.services:
            self._exits.push_async_callback(service.stop)
        await self.registry.start()
        for service in self.services[1:]:
            service.spawn()
        async with asyncio.TaskGroup() as starts:
            for service in self.services[1:]:
                starts.create_task(service.ready())

    async def _migrate(self) -> None:
        self._dsn = await self.postgres.create_database(DATABASE)
        await self._make_dead_letter_database()
        migration = Service(
            "registry",
            "migrate",
            name="registry-migrate",
            settings=self._registry_settings()
            | {"owner_dsn_file": str(self.secrets.write("owner.dsn", self._dsn))},
            log_path=self._log("registry-migrate"),
        )
        migration.spawn()
        if (code := await migration.finish()) != 0:
            raise ToolFailed(f"registry migrate ended with {code}\n{migration.process.log_tail()}")

    async def _make_dead_letter_database(self) -> None:
        """A database and a login of its own for the routers' index."""
        owner = await self.postgres.create_database(DEAD_LETTER_DATABASE)
        self._dead_letter_dsn_file = self.secrets.database(DEAD_LETTER_LOGIN, owner)
        await self.postgres.create_login(
            DEAD_LETTER_LOGIN,
            password=urlsplit(self._dead_letter_dsn_file.read_text()).password or "",
            database=DEAD_LETTER_DATABASE,
        )

    def _define_services(self) -> None:
        self.registry = self._service(
            "registry",
            name="registry",
            settings=self._registry_settings(),
            probe=serves_grpc(self.registry_address),
        )
        self.runner = self._service(
            "runner",
            name="runner",
            settings={
                "http_listen": self.runner_url.removeprefix("http://"),
                "rpc_listen": self.runner_address,
                "registry_address": self.registry_address,
                "kafka_bootstrap_servers": self.kafka.bootstrap_servers,
                "data_dir": str(self.data_dir / "runner"),
                **self._identity("runner"),
            },
            probe=answers_http(f"{self.runner_url}/healthz"),
        )
        self.routers = [self._router(index) for index in range(len(self._router_ports))]
        gateway = {
            "rest_listen": self.rest_url.removeprefix("http://"),
            "rpc_listen": self.gateway_address,
            "registry_address": self.registry_address,
            "router_addresses": ",".join(self.router_addresses),
            "runner_url": self.runner_url,
            "runner_address": self.runner_address,
            "public_url": self.rest_url,
        }
        self.rest = self._service(
            "gateway",
            "rest",
            name="rest",
            settings=gateway | self._identity("gateway", metrics="rest"),
            probe=answers_http(f"{self.rest_url}/readyz"),
        )
        self.rpc = self._service(
            "gateway",
            "rpc",
            name="rpc",
            settings=gateway | self._identity("gateway", metrics="rpc"),
            probe=serves_grpc(self.gateway_address),
        )

    def _router(self, index: int) -> Service:
        rpc, web, metrics = self._router_ports[index]
        settings = {
            "registry_address": self.registry_address,
            "runner_url": self.runner_url,
            "kafka_bootstrap_servers": self.kafka.bootstrap_servers,
            "rpc_listen": f"127.0.0.1:{rpc}",
            "web_listen": f"127.0.0.1:{web}",
            "worker_id": f"router-{index}",
            "data_dir": str(self.data_dir / f"router-{index}"),
            "service_token_file": str(self.secrets.token("router")),
            "identities_file": str(self.secrets.identities),
            "metrics_listen": f"127.0.0.1:{metrics}",
            "dead_letter_dsn_file": str(self._dead_letter_dsn_file),
        }
        return self._service(
            "router",
            name=f"router-{index}",
            settings=settings,
            probe=answers_http(self.router_health_url(index)),
        )

    def _registry_settings(self) -> dict[str, str]:
        return {
            "listen": self.registry_address,
            "database_dsn_file": str(self.secrets.database("log_app", self._dsn)),
            "vault_dsn_file": str(self.secrets.database("vault_app", self._dsn)),
            "ops_dsn_file": str(self.secrets.database("log_ops", self._dsn)),
            "master_key_file": str(self.secrets.master_key),
            **self._identity("registry"),
        }

    def _identity(self, role: str, *, metrics: str | None = None) -> dict[str, str]:
        return {
            "service_token_file": str(self.secrets.token(role)),
            "identities_file": str(self.secrets.identities),
            "metrics_listen": self._metrics[metrics or role],
        }

    def _service(
        self, module: str, *words: str, name: str, settings: dict[str, str], probe: object
    ) -> Service:
        return Service(
            module,
            *words,
            name=name,
            settings=settings | self._extra.get(name, self._extra.get(module, {})),
            log_path=self._log(name),
            probe=probe,  # type: ignore[arg-type]
            cpus=self._cpus.get(name),
            program=self._programs.get(module),
        )

    def _log(self, name: str) -> Path:
        return self.data_dir / "logs" / f"{name}.log"
