"""gRPC about dead letters to a whole cluster, as the gateway asks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
from devstack.cluster import Cluster
from eventflows.registry.v1 import registry_pb2, registry_pb2_grpc
from eventflows.router.v1 import router_pb2, router_pb2_grpc

from examples.demo import steps

WAIT_S = 60.0
CALL_TIMEOUT_S = 10.0
OWN_TOPIC_TIMEOUT_S = 30.0
"""As the gateway has it: a scan alone may take 8 s, and then connects and disconnects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """gRPC to the registry and to each worker, as the gateway."""

    registry: Any
    routers: list[Any]
    metadata: tuple[tuple[str, str], ...]

    async def ask(self, call: Any, request: Any) -> Any:
        limit_s = OWN_TOPIC_TIMEOUT_S if getattr(request, "own_topic", False) else CALL_TIMEOUT_S
        return await call(request, metadata=self.metadata, timeout=limit_s)

    async def letters(self, flow: str, **fields: Any) -> list[Any]:
        request = router_pb2.ListDeadLettersRequest(flow_id=flow, **fields)
        return list((await self.ask(self.routers[0].ListDeadLetters, request)).letters)

    async def until_letters(self, flow: str, count: int, **fields: Any) -> list[Any]:
        async with asyncio.timeout(WAIT_S):
            while len(found := await self.letters(flow, **fields)) != count:
                await asyncio.sleep(steps.POLL_PAUSE_S)
        return found

    async def request(self, name: str, flow: str, **fields: Any) -> str:
        """Ask the registry for a task; its id."""
        task_id = str(uuid4())
        request = getattr(registry_pb2, f"{name}Request")(
            context=registry_pb2.CommandContext(command_id=str(uuid4()), actor="service:gateway"),
            dead_letter_task_id=task_id,
            flow_id=flow,
            **fields,
        )
        await self.ask(getattr(self.registry, name), request)
        return task_id

    async def task(self, name: str, flow: str, **fields: Any) -> Any:
        """Ask for a task and wait for its end; every worker tells of it."""
        task_id = await self.request(name, flow, **fields)
        ended = [
            await self.until(router, task_id, lambda progress: progress.state == "finished")
            for router in self.routers
        ]
        assert len({(one.succeeded, one.failed) for one in ended}) == 1
        return ended[0]

    async def until(self, router: Any, task_id: str, fits: Callable[[Any], bool]) -> Any:
        """Wait for a progress that fits, as this worker tells it."""
        asked = router_pb2.GetDeadLetterTaskRequest(dead_letter_task_id=task_id)
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    progress = await self.ask(router.GetDeadLetterTask, asked)
                except grpc.aio.AioRpcError as error:
                    assert error.code() is grpc.StatusCode.NOT_FOUND  # noqa: PT017
                else:
                    if fits(progress):
                        return progress
                await asyncio.sleep(steps.POLL_PAUSE_S)


@asynccontextmanager
async def calls_to(cluster: Cluster) -> AsyncIterator[Calls]:
    """Open channels to the registry and all workers."""
    token = cluster.secrets.token("gateway").read_text().strip()
    async with AsyncExitStack() as exits:
        addresses = [cluster.registry_address, *cluster.router_addresses]
        channels = [
            await exits.enter_async_context(grpc.aio.insecure_channel(address))
            for address in addresses
        ]
        yield Calls(
            registry=registry_pb2_grpc.RegistryStub(channels[0]),
            routers=[router_pb2_grpc.RouterStub(channel) for channel in channels[1:]],
            metadata=(("authorization", f"Bearer {token}"),),
        )


async def change_code(folder: Path, name: str, change: Callable[[str], str]) -> None:
    """Another commit of the algorithm's code."""
    code = folder / name / "src" / f"{name}.py"
    code.write_text(change(code.read_text()))
    words = ["-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-qam", "repaired"]
    run = await asyncio.create_subprocess_exec("git", *words, cwd=folder / name)
    assert await run.wait() == 0
