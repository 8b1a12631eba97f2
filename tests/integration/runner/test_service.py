"""The service as operators start it: `python -m runner` against a real registry and Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import aiohttp
import grpc
import pytest
import pytest_asyncio
from devstack import Kafka, Postgres
from devstack.ports import free_ports
from devstack.service import Service, answers_http
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2
from eventflows.runner.v1 import runner_pb2, runner_pb2_grpc
from servicekit.identity import ServiceToken
from servicekit.rpc import rpc_channel

from tests.integration.runner.algorithms import LEGACY, repository
from tests.support.registry import Served, context, fresh_database, served

WAIT_S = 30.0
EXIT_CONFIG = 78
PID = LEGACY.replace("return data", "import os\n    return os.getpid()")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A registry, and what a runner beside it is told."""

    registry: Served
    folder: Path
    settings: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://{self.settings['http_listen']}"

    def runner(self, **changed: str) -> Service:
        return Service(
            "runner",
            name="runner",
            settings=self.settings | changed,
            log_path=self.folder / f"runner-{uuid4().hex[:8]}.log",
            probe=answers_http(f"{self.url}/healthz"),
        )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(
    postgres: Postgres, kafka: Kafka, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    http, rpc, metrics = (f"127.0.0.1:{port}" for port in free_ports(3))
    async with served(await fresh_database(postgres), folder) as registry:
        settings = {
            "http_listen": http,
            "rpc_listen": rpc,
            "metrics_listen": metrics,
            "registry_address": str(registry.address),
            "kafka_bootstrap_servers": kafka.bootstrap_servers,
            "data_dir": str(folder / "data"),
            "service_token_file": str(folder / "runner.token"),
            "identities_file": str(folder / "identities.json"),
        }
        yield Site(registry=registry, folder=folder, settings=settings)


async def test_it_builds_runs_and_dies_with_all_its_processes(site: Site, tmp_path: Path) -> None:
    runner = site.runner()
    await runner.start(timeout_s=WAIT_S)
    try:
        await _publish(site, "mine", repository(tmp_path / "mine", "mine", PID))
        pid = await _run(site, "mine")
        async with aiohttp.ClientSession() as client:
            async with client.get(f"http://{site.settings['metrics_listen']}/metrics") as page:
                assert 'eventflows_runner_runs_total{outcome="succeeded"} 1.0' in await page.text()
        runner.process.kill()
        await _ended(pid)
        await runner.start(timeout_s=WAIT_S)
        assert await _run(site, "mine") != pid, "the build was found again"
    finally:
        await runner.stop()


async def test_it_ends_with_0_when_asked(site: Site) -> None:
    runner = site.runner()
    await runner.start(timeout_s=WAIT_S)
    await runner.stop()
    assert await runner.finish(timeout_s=WAIT_S) == 0


async def test_two_runners_do_not_share_a_folder(site: Site) -> None:
    runner = site.runner()
    await runner.start(timeout_s=WAIT_S)
    try:
        listens = dict.fromkeys(("http_listen", "rpc_listen", "metrics_listen"), "127.0.0.1:0")
        second = site.runner(**listens)
        second.spawn()
        assert await second.finish(timeout_s=WAIT_S) == EXIT_CONFIG
        assert "give each runner a folder" in second.process.log_tail()
    finally:
        await runner.stop()


async def test_only_the_gateway_may_build(site: Site) -> None:
    runner = site.runner()
    await runner.start(timeout_s=WAIT_S)
    try:
        async with rpc_channel(site.settings["rpc_listen"], _token(site, "router")) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await runner_pb2_grpc.RunnerStub(channel).Build(runner_pb2.BuildRequest())
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    finally:
        await runner.stop()


async def _publish(site: Site, name: str, url: str) -> None:
    account_id, algorithm_id, build_id = (str(uuid4()) for _ in range(3))
    async with site.registry.client("operator") as operator, site.registry.client() as gateway:
        await operator.CreateAccount(
            registry_pb2.CreateAccountRequest(
                context=context(),
                account_id=account_id,
                kind=events_pb2.ACCOUNT_KIND_USER,
                username="acme",
                email="acme@example.org",
            )
        )
        await gateway.CreateAlgorithm(
            registry_pb2.CreateAlgorithmRequest(
                context=context(),
                algorithm_id=algorithm_id,
                owner_id=account_id,
                name=name,
                source_kind=events_pb2.SOURCE_KIND_GIT,
                source_url=url,
            )
        )
        built = await _build(site, algorithm_id, build_id)
        assert built.succeeded, built.log_tail
        await gateway.FinishBuild(
            registry_pb2.FinishBuildRequest(
                context=context(),
                algorithm_id=algorithm_id,
                build_id=build_id,
                commit_sha=built.commit_sha,
                succeeded=True,
                log_tail=built.log_tail,
                started_at=built.started_at,
                finished_at=built.finished_at,
            )
        )
        await gateway.PublishVersion(
            registry_pb2.PublishVersionRequest(
                context=context(),
                algorithm_id=algorithm_id,
                callability=events_pb2.CALLABILITY_PUBLIC,
            )
        )


async def _build(site: Site, algorithm_id: str, build_id: str) -> runner_pb2.BuildResponse:
    """The runner's catalog may be a moment behind the command that was just answered."""
    request = runner_pb2.BuildRequest(algorithm_id=algorithm_id, build_id=build_id)
    async with rpc_channel(site.settings["rpc_listen"], _token(site, "gateway")) as channel:
        stub = runner_pb2_grpc.RunnerStub(channel)
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    return await stub.Build(request, timeout=WAIT_S)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.NOT_FOUND:
                        raise
                await asyncio.sleep(0.02)


async def _run(site: Site, name: str) -> int:
    headers = {
        "Authorization": _token(site, "router").authorization,
        "X-Eventflows-Account": str(uuid4()),
    }
    async with asyncio.timeout(WAIT_S), aiohttp.ClientSession(headers=headers) as client:
        while True:
            url = f"{site.url}/v1/algo/acme/{name}/latest"
            async with client.post(url, json={}) as response:
                answer = await response.json()
                if response.status == 200:
                    return int(answer["result"])
                assert response.status == 404, answer  # the version is not in its catalog yet
            await asyncio.sleep(0.02)


async def _ended(pid: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while (state := Path(f"/proc/{pid}/stat")).exists():
            try:
                if state.read_text().rpartition(")")[2].split()[0] == "Z":
                    return
            except OSError:
                return
            await asyncio.sleep(0.01)


def _token(site: Site, role: str) -> ServiceToken:
    return ServiceToken.load(site.folder / f"{role}.token")
