"""Two registries change and shred the secrets of one connection at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import grpc.aio
from eventflows.registry.v1 import registry_pb2 as pb

from tests.integration.registry.vault_world import (
    SecretRow,
    created_connection,
    named_secrets,
    read_password,
    secret_rows,
    sweep,
    update_of,
)
from tests.support.registry import Database, Served, context, served

ROUNDS = 6
UPDATES_PER_ROUND = 3
TIMEOUT_S = 60.0


@contextmanager
def _others_may_be_faster() -> Iterator[None]:
    """Ten times in a row, then the answer says so and nothing has happened."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.ABORTED:
            raise


async def test_whoever_wins_the_vault_holds_what_the_log_names(
    database: Database, tmp_path: Path
) -> None:
    passwords: dict[int, str] = {}

    async def update(registry: Served, created: pb.CreateConnectionRequest, password: str) -> None:
        async with registry.client() as client:
            with _others_may_be_faster():
                result = await client.UpdateConnection(update_of(created, password=password))
                passwords[result.version] = password

    async def shred(registry: Served, created: pb.CreateConnectionRequest) -> None:
        async with registry.client("operator") as client:
            with _others_may_be_faster():
                request = pb.ShredSecretsRequest(context=context(), stream_id=created.connection_id)
                await client.ShredSecrets(request)

    async with served(database, tmp_path) as one, served(database, tmp_path) as other:
        created = await created_connection(one)
        stream_id = created.connection_id
        for number in range(ROUNDS):
            calls = [shred(one, created), shred(other, created)]
            for turn in range(UPDATES_PER_ROUND):
                registry = (one, other)[turn % 2]
                calls.append(update(registry, created, f"password {number}.{turn}"))
            async with asyncio.timeout(TIMEOUT_S):
                await asyncio.gather(*calls)
            named = await named_secrets(one, stream_id)
            if named[-1]:
                assert await read_password(other, stream_id, named[-1]) == passwords[len(named)]
        await update(one, created, "the last password")
        named = await named_secrets(one, stream_id)
        assert await read_password(other, stream_id, named[-1]) == "the last password"
    assert "" in named, "no shredding won: the test has tried nothing"
    await sweep(database, tmp_path)
    since_the_last_shredding = named[len(named) - named[::-1].index("") :]
    assert await secret_rows(database) == {
        secret_id: SecretRow(used=True, superseded=secret_id != named[-1])
        for secret_id in since_the_last_shredding
    }
