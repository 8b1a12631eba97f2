"""`python -m registry` as a process of its own."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import grpc.aio
from devstack import Postgres
from devstack.process import Process
from eventflows.registry.v1 import registry_pb2 as pb
from prometheus_client import CollectorRegistry
from servicekit.settings import HostPort

from tests.support.registry import (
    Database,
    Served,
    account_request,
    connection_request,
    database_at,
    environment,
    verified,
)

TIMEOUT_S = 60.0
EXIT_CONFIG = 78
ACCOUNTS_BEFORE_KILL = 40


def _spawn(variables: dict[str, str], folder: Path, *task: str) -> Process:
    return Process.spawn(
        [sys.executable, "-m", "registry", *task],
        log_path=folder / f"registry-{uuid4().hex[:6]}.log",
        env=variables,
    )


@asynccontextmanager
async def _serving(
    variables: dict[str, str], folder: Path
) -> AsyncIterator[tuple[Process, Served]]:
    """A registry process that answers, and how to ask it."""
    process = _spawn(variables, folder)
    try:
        await process.wait_ready(_address_told(process))
        address = _address(process)
        assert address is not None
        yield (
            process,
            Served(
                address=address, folder=folder, collector=CollectorRegistry(), stop=asyncio.Event()
            ),
        )
    finally:
        await process.terminate()


def _address(process: Process) -> HostPort | None:
    """Where its log says that it serves."""
    for line in process.log_path.read_text().splitlines():
        if '"serving"' in line:
            return HostPort.parse(json.loads(line)["address"])
    return None


def _address_told(process: Process) -> Callable[[], asyncio.Future[None]]:
    async def told() -> None:
        if _address(process) is None:
            raise ConnectionError("not serving yet")

    return lambda: asyncio.ensure_future(told())


async def test_migrate_then_serve_then_stop(postgres: Postgres, tmp_path: Path) -> None:
    database = database_at(await postgres.create_database(f"empty_{uuid4().hex[:12]}"))
    variables = environment(database, tmp_path)

    unmigrated = _spawn(variables, tmp_path)
    assert await unmigrated.wait(timeout_s=TIMEOUT_S) == EXIT_CONFIG
    assert "python -m registry migrate" in unmigrated.log_tail()

    for _ in range(2):
        migration = _spawn(variables, tmp_path, "migrate")
        assert await migration.wait(timeout_s=TIMEOUT_S) == 0, migration.log_tail()

    async with _serving(variables, tmp_path) as (process, registry):
        async with registry.client() as client:
            request = connection_request()
            assert (await client.CreateConnection(request)).position == 1
        process_log = process.log_path.read_text()
        assert await process.terminate() == 0
    every_log = process_log + "".join(path.read_text() for path in tmp_path.glob("*.log"))
    for secret in (request.credentials.password, registry.token("gateway"), *_passwords(database)):
        assert secret not in every_log


async def test_a_wrong_master_key_stops_the_start(database: Database, tmp_path: Path) -> None:
    variables = environment(database, tmp_path)
    Path(variables["EVENTFLOWS_REGISTRY_MASTER_KEY_FILE"]).write_text("c2hvcnQ=")
    process = _spawn(variables, tmp_path)
    assert await process.wait(timeout_s=TIMEOUT_S) == EXIT_CONFIG
    assert "32 bytes in base64" in process.log_tail()


async def test_an_unknown_variable_stops_the_start(database: Database, tmp_path: Path) -> None:
    variables = environment(database, tmp_path) | {"EVENTFLOWS_REGISTRY_LISTENS": "127.0.0.1:1"}
    process = _spawn(variables, tmp_path)
    assert await process.wait(timeout_s=TIMEOUT_S) == EXIT_CONFIG
    assert "EVENTFLOWS_REGISTRY_LISTEN" in process.log_tail()


async def test_kill_9_of_the_registry_loses_nothing_that_it_answered(
    database: Database, tmp_path: Path
) -> None:
    variables = environment(database, tmp_path)
    acknowledged: dict[str, int] = {}
    unanswered: list[pb.CreateAccountRequest] = []
    enough = asyncio.Event()

    async def write(client: object) -> None:
        while True:
            request = account_request(f"u{uuid4().hex[:20]}")
            try:
                result = await client.CreateAccount(request)  # type: ignore[attr-defined]
            except grpc.aio.AioRpcError:
                unanswered.append(request)
                return
            acknowledged[request.account_id] = result.position
            if len(acknowledged) >= ACCOUNTS_BEFORE_KILL:
                enough.set()

    async with _serving(variables, tmp_path) as (process, registry), registry.client() as client:
        writers = [asyncio.create_task(write(client)) for _ in range(8)]
        async with asyncio.timeout(TIMEOUT_S):
            await enough.wait()
            process.kill()
            await asyncio.gather(*writers)
    async with _serving(variables, tmp_path) as (_, registry), registry.client() as client:
        assert unanswered
        for request in unanswered:
            result = await client.CreateAccount(request)
            acknowledged[request.account_id] = result.position
        stored: dict[str, int] = {}
        async for batch in client.Watch(pb.WatchRequest()):
            stored |= {event.stream_id: event.position for event in batch.events}
            if batch.to_position == batch.head_position:
                break
        assert stored == acknowledged
        assert (await verified(client)).intact


def _passwords(database: Database) -> list[str]:
    found = [
        re.search(r"//[^:]+:([^@]+)@", dsn)
        for dsn in (database.owner_dsn, database.log_dsn, database.vault_dsn)
    ]
    return [match.group(1) for match in found if match]
