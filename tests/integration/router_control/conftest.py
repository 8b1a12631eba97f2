"""Router workers as processes, on a real Kafka and a registry that tells what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import pytest
import pytest_asyncio
from catalog.events import ConnectionCreated, SecurityProtocol
from devstack import Kafka
from devstack.ports import free_ports
from devstack.service import Service, answers_http
from eventflows.router.v1.router_pb2 import FlowStatus, GetFlowStatusRequest
from eventflows.router.v1.router_pb2_grpc import RouterStub
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from servicekit.identity import Identities, IdentityFiles, ServiceToken, create_identities
from servicekit.rpc import rpc_channel

from tests.support.event_log import id_of
from tests.support.http import get_json, get_text
from tests.support.router_runner import Runner, running_runner
from tests.support.scripted_registry import ScriptedRegistry, scripted_registry

if TYPE_CHECKING:
    from eventflows.router.v1.router_pb2_grpc import RouterAsyncStub

T = TypeVar("T")

ALGORITHM = "acme/echo"
POLL_S = 0.05
WAIT_S = 30.0
_prefixes = count(1)


@dataclass(slots=True, kw_only=True)
class Worker:
    """One router worker process and its addresses."""

    name: str
    service: Service
    rpc: str
    web: str
    metrics: str

    async def health(self) -> dict[str, Any]:
        """The health page's JSON, ready or not."""
        content = await get_json(f"http://{self.web}/health")
        assert isinstance(content, dict)
        return content

    async def until_it_answers(self) -> dict[str, Any]:
        """The first health page that the process gives, ready or not."""
        return await _first_answer(self.health)

    async def until_metrics_answer(self) -> str:
        """The first metrics page: the process is up, whatever it waits for."""
        return await _first_answer(self.metrics_text)

    def log_text(self) -> str:
        """Everything that it has logged."""
        return self.service.log_path.read_text()

    async def metrics_text(self) -> str:
        """The Prometheus page."""
        return await get_text(f"http://{self.metrics}/metrics")

    async def until(
        self, holds: Callable[[dict[str, Any]], bool], *, timeout_s: float = WAIT_S
    ) -> dict[str, Any]:
        """Wait until the health page satisfies `holds`."""
        seen: dict[str, Any] = {}
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    seen = await self.health()
                    if holds(seen):
                        return seen
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise AssertionError(f"{self.name} got no further than {seen}") from None


async def _first_answer(page: Callable[[], Awaitable[T]]) -> T:
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await page()
            except OSError:
                await asyncio.sleep(POLL_S)


@dataclass(slots=True, kw_only=True)
class Routers:
    """Starts workers of one cluster."""

    kafka: Kafka
    registry_address: str
    identities: IdentityFiles
    folder: Path
    group_prefix: str
    workers: list[Worker] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.service.kill()

    @asynccontextmanager
    async def ask(self, worker: Worker) -> AsyncIterator[RouterAsyncStub]:
        """Call the worker as the gateway does."""
        token = ServiceToken.load(self.identities.tokens["gateway"])
        async with rpc_channel(worker.rpc, token) as channel:
            yield RouterStub(channel)

    async def until_flows(
        self,
        worker: Worker,
        holds: Callable[[dict[str, FlowStatus]], bool],
        *,
        timeout_s: float = WAIT_S,
    ) -> dict[str, FlowStatus]:
        """Ask the worker for all flows, by id, until the answer satisfies `holds`."""
        seen: dict[str, FlowStatus] = {}
        async with self.ask(worker) as stub:
            try:
                async with asyncio.timeout(timeout_s):
                    while True:
                        answer = await stub.GetFlowStatus(GetFlowStatusRequest())
                        seen = {flow.flow_id: flow for flow in answer.flows}
                        if holds(seen):
                            return seen
                        await asyncio.sleep(POLL_S)
            except TimeoutError:
                raise AssertionError(f"{worker.name} got no further than {seen}") from None

    async def until_serving(self, worker: Worker, serving: bool) -> None:
        """Wait until gRPC's health says so."""
        wanted = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        token = ServiceToken.load(self.identities.tokens["gateway"])
        async with asyncio.timeout(WAIT_S), rpc_channel(worker.rpc, token) as channel:
            while (await HealthStub(channel).Check(HealthCheckRequest())).status != wanted:
                await asyncio.sleep(POLL_S)

    def spawn(self, name: str, *, program: str | None = None, **settings: str) -> Worker:
        """A worker process, not waited for; `program` is a module that runs in its place."""
        rpc, web, metrics = (f"127.0.0.1:{port}" for port in free_ports(3))
        service = Service(
            "router",
            name=name,
            settings={
                "registry_address": self.registry_address,
                "runner_url": "http://127.0.0.1:9",
                "kafka_bootstrap_servers": self.kafka.bootstrap_servers,
                "rpc_listen": rpc,
                "web_listen": web,
                "data_dir": str(self.folder / name),
                "group_prefix": self.group_prefix,
                "service_token_file": str(self.identities.tokens["router"]),
                "identities_file": str(self.identities.identities),
                "metrics_listen": metrics,
                "worker_id": name,
                **settings,
            },
            log_path=self.folder / f"{name}.log",
            probe=answers_http(f"http://{web}/health"),
            program=program,
        )
        worker = Worker(name=name, service=service, rpc=rpc, web=web, metrics=metrics)
        self.workers.append(worker)
        service.spawn()
        return worker

    async def start(self, name: str, *, program: str | None = None, **settings: str) -> Worker:
        """A worker that is ready."""
        worker = self.spawn(name, program=program, **settings)
        await worker.service.ready(timeout_s=WAIT_S)
        return worker


@pytest.fixture(scope="session")
def identity_files(tmp_path_factory: pytest.TempPathFactory) -> IdentityFiles:
    """Tokens of all roles."""
    return create_identities(tmp_path_factory.mktemp("identities"))


@pytest_asyncio.fixture
async def registry(identity_files: IdentityFiles) -> AsyncIterator[ScriptedRegistry]:
    """A registry with an empty log."""
    async with scripted_registry(Identities.load(identity_files.identities)) as scripted:
        yield scripted


@pytest_asyncio.fixture
async def routers(
    kafka: Kafka, registry: ScriptedRegistry, identity_files: IdentityFiles, tmp_path: Path
) -> AsyncIterator[Routers]:
    """No worker yet; all that the test starts are killed after it. A group of its own."""
    cluster = Routers(
        kafka=kafka,
        registry_address=registry.address,
        identities=identity_files,
        folder=tmp_path,
        group_prefix=f"test{next(_prefixes)}",
    )
    async with cluster:
        yield cluster


@pytest_asyncio.fixture
async def runner() -> AsyncIterator[Runner]:
    """A runner that answers every run with a result."""
    async with running_runner() as running:
        yield running


@pytest_asyncio.fixture
async def script(registry: ScriptedRegistry, kafka: Kafka) -> ScriptedRegistry:
    """A log with an algorithm and a connection to Kafka; nothing is granted yet."""
    log = registry.log
    log.account("acme")
    log.algorithm(ALGORITHM, "1.0.0")
    log.add(
        id_of("cluster"),
        ConnectionCreated(
            connection_id=id_of("cluster"),
            name="cluster",
            bootstrap_servers=(kafka.bootstrap_servers,),
            security_protocol=SecurityProtocol.PLAINTEXT,
        ),
    )
    return registry
