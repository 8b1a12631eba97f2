"""A runner on loopback, put together as in production, over a catalog that tests feed."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from prometheus_client import CollectorRegistry
from runner.application.readiness import Readiness
from runner.bootstrap import RunnerParts, assemble, http_server
from runner.ports import BuildReport, Completions
from runner.settings import RunnerSettings
from servicekit.identity import Identities, create_identities
from servicekit.settings import HostPort

from tests.support.runner_catalog import CALLER, FedCatalog

ANSWER_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer, read."""

    status: int
    headers: Any
    body: bytes
    json: Any


@dataclass(kw_only=True)
class World:
    """The runner under test and the ways to it."""

    registry: FedCatalog
    parts: RunnerParts
    settings: RunnerSettings
    address: HostPort
    token: str
    client: aiohttp.ClientSession
    collector: CollectorRegistry

    async def build(self, algorithm_id: str, commit_sha: str = "") -> BuildReport:
        """As the gateway's Build does."""
        return await self.parts.builds.build(algorithm_id, commit_sha)

    async def run(
        self,
        name: str,
        body: Any = None,
        *,
        version: str = "1.0.0",
        query: str = "",
        content_type: str = "application/json",
        json: Any = None,
        **headers: str,
    ) -> Answer:
        """POST /v1/algo/acme/<name>/<version>; header names with `_` for `-`."""
        sent = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": content_type,
            "X-Eventflows-Account": CALLER,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if body is None:
            body = msgspec.json.encode(json)
        if isinstance(body, bytes):
            body = io.BytesIO(body)
        url = f"http://{self.address}/v1/algo/acme/{name}/{version}{query}"
        async with self.client.post(
            url, data=body, headers={k: v for k, v in sent.items() if v}
        ) as response:
            content = await response.read()
            is_json = response.content_type == "application/json"
            return Answer(
                status=response.status,
                headers=response.headers,
                body=content,
                json=await response.json() if is_json else None,
            )

    async def health(self) -> int:
        async with self.client.get(f"http://{self.address}/healthz") as response:
            return response.status


@asynccontextmanager
async def runner_world(
    folder: Path, completions: Completions, *, environments: Path, **settings: Any
) -> AsyncIterator[World]:
    """A started runner; its data is in `folder`, which may be used again after it.

    `environments` is a folder that several runners share, one after the other: built once.
    """
    environments.mkdir(exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    if not (folder / "data" / "environments").is_symlink():
        (folder / "data" / "environments").symlink_to(environments)
    files = create_identities(folder / "identities")
    loaded = RunnerSettings(
        service_token_file=files.tokens["runner"],
        identities_file=files.identities,
        metrics_listen=HostPort("127.0.0.1", 0),
        http_listen=HostPort("127.0.0.1", 0),
        rpc_listen=HostPort("127.0.0.1", 0),
        registry_address=HostPort("127.0.0.1", 1),
        kafka_bootstrap_servers=(HostPort("127.0.0.1", 1),),
        data_dir=folder / "data",
        **settings,
    )
    configuration, collector = FedCatalog(), CollectorRegistry()
    async with AsyncExitStack() as stack:
        parts = await assemble(stack, loaded, configuration, completions, collector)
        keeper = asyncio.create_task(parts.executor.keep())
        stack.callback(keeper.cancel)
        readiness = Readiness(parts.runs, kafka_connected=lambda: True)
        identities = Identities.load(files.identities)
        server = http_server(loaded, identities, parts, readiness)
        address = await stack.enter_async_context(server)
        client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S))
        await stack.enter_async_context(client)
        stack.push_async_callback(parts.runs.close, grace_s=0.0)
        yield World(
            registry=configuration,
            parts=parts,
            settings=loaded,
            address=address,
            token=files.tokens["router"].read_text().strip(),
            client=client,
            collector=collector,
        )
