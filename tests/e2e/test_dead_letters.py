"""Dead letters from death to redrive, through the services' own gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2, registry_pb2_grpc
from eventflows.router.v1 import router_pb2, router_pb2_grpc

from examples.demo import steps, traffic
from tests.e2e.conftest import OWNER, Landscape
from tests.support.numbered import numbered_records

WAIT_S = 60.0
CALL_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """gRPC to the registry and to each worker, as the gateway."""

    registry: Any
    routers: list[Any]
    metadata: tuple[tuple[str, str], ...]

    async def ask(self, call: Any, request: Any) -> Any:
        return await call(request, metadata=self.metadata, timeout=CALL_TIMEOUT_S)

    async def letters(self, flow: str, **fields: Any) -> list[Any]:
        request = router_pb2.ListDeadLettersRequest(flow_id=flow, **fields)
        return list((await self.ask(self.routers[0].ListDeadLetters, request)).letters)

    async def until_letters(self, flow: str, count: int, **fields: Any) -> list[Any]:
        async with asyncio.timeout(WAIT_S):
            while len(found := await self.letters(flow, **fields)) != count:
                await asyncio.sleep(steps.POLL_PAUSE_S)
        return found

    async def task(self, name: str, flow: str, **fields: Any) -> Any:
        """Ask for a task and wait for its end; every worker tells of it."""
        task_id = str(uuid4())
        request = getattr(registry_pb2, f"{name}Request")(
            context=registry_pb2.CommandContext(command_id=str(uuid4()), actor="service:gateway"),
            dead_letter_task_id=task_id,
            flow_id=flow,
            **fields,
        )
        await self.ask(getattr(self.registry, name), request)
        asked = router_pb2.GetDeadLetterTaskRequest(dead_letter_task_id=task_id)
        ended = [await self._ended(router, asked) for router in self.routers]
        assert len({(one.succeeded, one.failed) for one in ended}) == 1
        return ended[0]

    async def _ended(self, router: Any, asked: Any) -> Any:
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    progress = await self.ask(router.GetDeadLetterTask, asked)
                except grpc.aio.AioRpcError as error:
                    assert error.code() is grpc.StatusCode.NOT_FOUND  # noqa: PT017
                else:
                    if progress.state == "finished":
                        return progress
                await asyncio.sleep(steps.POLL_PAUSE_S)


@pytest_asyncio.fixture(loop_scope="session")
async def calls(landscape: Landscape) -> AsyncIterator[Calls]:
    cluster = landscape.cluster
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


async def _change(folder: Path, name: str, change: Callable[[str], str]) -> None:
    """Another commit of the algorithm's code."""
    code = folder / name / "src" / f"{name}.py"
    code.write_text(change(code.read_text()))
    words = ["-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-qam", "repaired"]
    run = await asyncio.create_subprocess_exec("git", *words, cwd=folder / name)
    assert await run.wait() == 0


async def test_dead_letters_are_found_redriven_and_purged(
    landscape: Landscape, folder: Path, calls: Calls
) -> None:
    algorithm, version = await landscape.algorithm(folder)
    images = await landscape.topic("images", partitions=1)
    flow = await landscape.wire(algorithm, version, images, "subscriber")
    await landscape.running(algorithm, flow)
    bad = numbered_records(3, keys=1, fail=True)
    async with traffic.producer(landscape.cluster.customer_kafka) as client:
        await traffic.produce(client, images, bad)
    letters = await calls.until_letters(flow, 3)
    assert [letter.offset for letter in sorted(letters, key=lambda one: one.offset)] == [0, 1, 2]
    whole = await calls.ask(
        calls.routers[1].GetDeadLetter,
        router_pb2.GetDeadLetterRequest(letter_id=letters[0].letter_id),
    )
    assert whole.value == bad[letters[0].offset].value
    assert (whole.letter.error_type, whole.history[-1].outcome) == ("InputError", "algorithm_error")

    first = events_pb2.DeadLetterSelection(offset_first=1, offset_last=2)
    counted = await calls.ask(
        calls.routers[0].CountDeadLetters,
        router_pb2.CountDeadLettersRequest(flow_id=flow, selection=first),
    )
    assert counted.letters == 2
    again = await calls.task("RequestRedrive", flow, selection=first, rate_per_s=100)
    assert (again.succeeded, again.failed) == (0, 2)
    still = await calls.until_letters(flow, 3)
    assert sorted((letter.offset, letter.generation) for letter in still) == [
        (0, 0),
        (1, 1),
        (2, 1),
    ]

    await _change(folder, algorithm.split("/")[1], lambda code: code.replace('("fail")', '("no")'))
    repaired = await steps.publish_version(
        landscape.owner, owner=OWNER, name=algorithm.split("/")[1]
    )
    redriven = await calls.task("RequestRedrive", flow, algorithm_version=repaired, rate_per_s=100)
    assert (redriven.succeeded, redriven.failed) == (3, 0)
    assert await calls.letters(flow) == []

    async with traffic.producer(landscape.cluster.customer_kafka) as client:
        await traffic.produce(client, images, bad[:1])
    await calls.until_letters(flow, 1)
    purged = await calls.task("RequestPurge", flow)
    assert purged.succeeded == 1
    assert await calls.letters(flow) == []
    state = router_pb2.DEAD_LETTER_STATE_PURGED
    (gone,) = await calls.letters(flow, state=state)
    assert gone.offset == 3


async def test_a_topic_of_its_own_is_scanned(
    landscape: Landscape, folder: Path, calls: Calls
) -> None:
    algorithm, version = await landscape.algorithm(folder)
    images, rejects = await landscape.topic("images"), await landscape.topic("rejects")
    grants = {algorithm: "dead_letter"}
    await steps.grant(
        landscape.admin, connection=landscape.connection, topic=rejects, algorithms=grants
    )
    flow = await landscape.wire(algorithm, version, images, "subscriber", dead_letter_topic=rejects)
    await landscape.running(algorithm, flow)
    (bad,) = numbered_records(1, keys=1, fail=True)
    async with traffic.producer(landscape.cluster.customer_kafka) as client:
        await client.send_and_wait(rejects, b"not a letter")
        await traffic.produce(client, images, [bad])
    (letter,) = await calls.until_letters(flow, 1, own_topic=True)
    assert letter.letter_topic == rejects
    whole = await calls.ask(
        calls.routers[1].GetDeadLetter,
        router_pb2.GetDeadLetterRequest(letter_id=letter.letter_id, flow_id=flow, own_topic=True),
    )
    assert (whole.value, whole.letter.record_key) == (bad.value, bad.key)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await calls.letters("no such flow", own_topic=True)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
