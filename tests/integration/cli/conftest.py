"""A registry with something in it, and the command that asks it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from devstack import Postgres
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb

from tests.integration.cli.command import Command
from tests.support.registry import (
    Served,
    account_request,
    connection_request,
    context,
    fresh_database,
    served,
)

WAIT_S = 60.0
PASSWORD = "correct horse battery"


@pytest.fixture(scope="session", autouse=True)
def interrupts_reach_children() -> None:
    """Programs that a shell starts in the background inherit that interrupts are ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What was done: an account with a key, a connection, an algorithm, an enabled flow."""

    account_id: str
    key_id: str
    connection_id: str
    algorithm_id: str
    grant_command_id: str
    flow_id: str
    positions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The registry that was told the story."""

    registry: Served
    story: Story
    command: Command


def command_for(registry: Served, folder: Path) -> Command:
    """The command with the operator's key for this registry."""
    return Command(
        environ={
            "EVENTFLOWS_ADDRESS": str(registry.address),
            "EVENTFLOWS_KEY_FILE": str(registry.folder / "operator.token"),
            "XDG_CONFIG_HOME": str(folder),
        }
    )


async def tell(registry: Served) -> Story:
    """Do what a story has."""
    async with registry.client() as client:
        account = await client.CreateAccount(account_request("acme"))
        by_acme: dict[str, Any] = {"actor": account.stream_id}
        key_id = str(uuid4())
        await client.CreateApiKey(
            pb.CreateApiKeyRequest(
                context=context(**by_acme), account_id=account.stream_id, key_id=key_id,
                label="deploy", key_type=events_pb2.KEY_TYPE_STANDARD, key_sha256=uuid4().bytes * 2,
                mask="sim12…9Zq",
            )
        )  # fmt: skip
        by_acme["key_id"] = key_id
        connection = await client.CreateConnection(
            connection_request(name="plant", context=context(**by_acme))
        )
        algorithm_id = await _algorithm(client, account.stream_id, by_acme)
        grant = pb.SetTopicAccessRequest(
            context=context(**by_acme), connection_id=connection.stream_id, topic="images"
        )
        grant.grants.add(algorithm_id=algorithm_id, api_type=events_pb2.API_TYPE_SUBSCRIBER)
        await client.SetTopicAccess(grant)
        flow_id = granted(connection.stream_id, algorithm_id)
        enabled = await client.EnableFlow(
            pb.EnableFlowRequest(
                context=context(**by_acme), flow_id=flow_id, algorithm_version="0.1.0"
            )
        )
    return Story(
        account_id=account.stream_id, key_id=key_id, connection_id=connection.stream_id,
        algorithm_id=algorithm_id, grant_command_id=grant.context.command_id, flow_id=flow_id,
        positions=enabled.position,
    )  # fmt: skip


def granted(connection_id: str, algorithm_id: str) -> str:
    """Id of the flow that the story's grant allows."""
    from catalog.events import ApiType
    from catalog.identifiers import granted_flow_id

    return granted_flow_id(
        connection_id=connection_id, topic="images", algorithm_id=algorithm_id,
        api_type=ApiType.SUBSCRIBER,
    )  # fmt: skip


async def _algorithm(client: Any, owner_id: str, by_owner: dict[str, Any]) -> str:
    algorithm_id = str(uuid4())
    await client.CreateAlgorithm(
        pb.CreateAlgorithmRequest(
            context=context(**by_owner), algorithm_id=algorithm_id, owner_id=owner_id,
            name="digits", label="Digits", source_kind=events_pb2.SOURCE_KIND_GIT,
            source_url="https://git.example.test/acme/digits.git",
        )
    )  # fmt: skip
    build = pb.FinishBuildRequest(
        context=context(**by_owner), algorithm_id=algorithm_id, build_id=str(uuid4()),
        commit_sha="9b" * 20, succeeded=True,
    )  # fmt: skip
    build.started_at.GetCurrentTime()
    build.finished_at.GetCurrentTime()
    await client.FinishBuild(build)
    await client.PublishVersion(
        pb.PublishVersionRequest(
            context=context(**by_owner), algorithm_id=algorithm_id,
            bump=pb.VERSION_BUMP_MINOR, callability=events_pb2.CALLABILITY_PRIVATE,
        )
    )  # fmt: skip
    return algorithm_id


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def told(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Told]:
    """For tests that change nothing."""
    async for registry in _kept(postgres, tmp_path_factory.mktemp("cli")):
        yield registry


@pytest_asyncio.fixture(loop_scope="session")
async def told_anew(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Told]:
    """For tests that change something."""
    async for registry in _kept(postgres, tmp_path):
        yield registry


async def _kept(postgres: Postgres, folder: Path) -> AsyncIterator[Told]:
    end = asyncio.Event()
    opened: asyncio.Future[Told] = asyncio.get_running_loop().create_future()

    async def keep() -> None:
        # A task of its own: fixtures begin and end in different tasks.
        async with served(await fresh_database(postgres), folder / "registry") as registry:
            command = command_for(registry, folder)
            story = await tell(registry)
            opened.set_result(Told(registry=registry, story=story, command=command))
            await end.wait()

    keeping = asyncio.create_task(keep())
    either: set[asyncio.Future[Any]] = {keeping, opened}
    await asyncio.wait(either, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    if keeping.done():
        await keeping
    yield opened.result()
    end.set()
    await keeping
