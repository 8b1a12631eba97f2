"""A secret's life beside the log: replaced, kept a while, brought back, shredded, lost."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from catalog.errors import SECRET_GONE
from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from registry.application.vault_steps import SECRET_DESTROYED

from tests.integration.registry.vault_world import (
    PASSWORD,
    SecretRow,
    created_connection,
    named_secrets,
    owner_of,
    read_password,
    secret_rows,
    sweep,
    update_of,
)
from tests.support.registry import (
    Database,
    Served,
    account_request,
    connection_request,
    context,
    refusal,
    verified,
)

USED = SecretRow(used=True, superseded=False)
SUPERSEDED = SecretRow(used=True, superseded=True)


async def test_a_new_password_takes_the_place_of_the_old_one_which_is_kept(
    registry: Served, database: Database
) -> None:
    created = await created_connection(registry)
    async with registry.client() as client:
        result = await client.UpdateConnection(update_of(created, password="new password"))
    assert (result.version, result.changed) == (2, True)
    old, new = await named_secrets(registry, created.connection_id)
    assert await read_password(registry, created.connection_id, new) == "new password"
    assert await secret_rows(database) == {old: SUPERSEDED, new: USED}
    async with registry.client("router") as router:
        read = pb.ReadCredentialRequest(stream_id=created.connection_id, secret_id=old)
        status, _ = await refusal(router.ReadCredential(read))
        assert status is grpc.StatusCode.NOT_FOUND, "only what the log names now is handed out"


async def test_without_credentials_in_the_request_those_that_stand_are_kept(
    registry: Served, database: Database
) -> None:
    created = await created_connection(registry)
    async with registry.client() as client:
        await client.UpdateConnection(update_of(created, bootstrap_servers=["other:9093"]))
        again = await client.UpdateConnection(update_of(created, bootstrap_servers=["other:9093"]))
        same = update_of(created, password=PASSWORD, bootstrap_servers=["other:9093"])
        equal = await client.UpdateConnection(same)
    assert (again.changed, again.version) == (False, 2)
    assert (equal.changed, equal.version) == (False, 2), "equal credentials are no change"
    first, second = await named_secrets(registry, created.connection_id)
    assert first == second
    assert await secret_rows(database) == {first: USED}


async def test_equal_credentials_beside_another_change_leave_one_secret(
    registry: Served, database: Database
) -> None:
    created = await created_connection(registry)
    async with registry.client() as client:
        await client.UpdateConnection(update_of(created, password=PASSWORD, name=str(uuid4())))
    first, second = await named_secrets(registry, created.connection_id)
    assert first == second
    assert await secret_rows(database) == {first: USED}


async def test_a_connection_without_security_drops_its_credentials(
    registry: Served, database: Database
) -> None:
    created = await created_connection(registry)
    plain = update_of(
        created, security_protocol=events_pb2.SECURITY_PROTOCOL_PLAINTEXT, sasl_mechanism=""
    )
    async with registry.client() as client:
        await client.UpdateConnection(plain)
    old, none = await named_secrets(registry, created.connection_id)
    assert none == ""
    assert await secret_rows(database) == {old: SUPERSEDED}


async def test_a_new_name_is_taken_and_the_old_one_free_at_once(registry: Served) -> None:
    one, other = await created_connection(registry), await created_connection(registry)
    async with registry.client() as client:
        status, _ = await refusal(client.UpdateConnection(update_of(one, name=other.name.upper())))
        assert status is grpc.StatusCode.ALREADY_EXISTS
        await client.UpdateConnection(update_of(one, name="renamed"))
        await client.CreateConnection(connection_request(name=one.name))
        status, _ = await refusal(client.UpdateConnection(update_of(one)))
        assert status is grpc.StatusCode.ALREADY_EXISTS, "somebody else has the old name"


async def test_a_repeated_update_is_answered_and_stores_nothing(
    registry: Served, database: Database
) -> None:
    created = await created_connection(registry)
    update = update_of(created, password="new password")
    async with registry.client() as client:
        first = await client.UpdateConnection(update)
        await client.UpdateConnection(update_of(created, password="third password"))
        again = await client.UpdateConnection(update)
        assert (again.replayed, again.version) == (True, first.version)
        update.credentials.password = "something else"
        _, code = await refusal(client.UpdateConnection(update))
        assert code == "9011"
    rows = await secret_rows(database)
    named = await named_secrets(registry, created.connection_id)
    assert rows == {named[0]: SUPERSEDED, named[1]: SUPERSEDED, named[2]: USED}


@pytest.mark.parametrize("given", [{"username": "admin"}, {"password": "word"}])
async def test_half_of_the_credentials_is_refused(registry: Served, given: dict[str, str]) -> None:
    update = update_of(await created_connection(registry))
    update.credentials.CopyFrom(pb.Credential(**given))
    async with registry.client() as client:
        status, _ = await refusal(client.UpdateConnection(update))
    assert status is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_replaced_secret_is_destroyed_when_its_time_is_over(
    registry: Served, database: Database, tmp_path: Path
) -> None:
    created = await created_connection(registry)
    async with registry.client() as client:
        await client.UpdateConnection(update_of(created, password="new password"))
    old, new = await named_secrets(registry, created.connection_id)
    await sweep(database, tmp_path)
    assert await secret_rows(database) == {old: SUPERSEDED, new: USED}
    await sweep(database, tmp_path, superseded_kept_s=0.0)
    assert await secret_rows(database) == {new: USED}
    assert await read_password(registry, created.connection_id, new) == "new password"


def _back_to_the_first(created: pb.CreateConnectionRequest) -> pb.RevertRequest:
    return pb.RevertRequest(
        context=context(),
        kind=catalog_pb2.AGGREGATE_KIND_CONNECTION,
        stream_id=created.connection_id,
        to_version=1,
    )


async def test_what_goes_back_to_an_earlier_secret_makes_it_live_again(
    registry: Served, database: Database
) -> None:
    created = await created_connection(registry)
    async with registry.client() as client:
        await client.UpdateConnection(update_of(created, password="new password"))
    old, new = await named_secrets(registry, created.connection_id)
    async with registry.client("operator") as operator:
        assert (await operator.Revert(_back_to_the_first(created))).version == 3
    assert await secret_rows(database) == {old: USED, new: SUPERSEDED}
    assert await read_password(registry, created.connection_id, old) == PASSWORD


@pytest.mark.parametrize("how", ["shredded", "destroyed"])
async def test_nothing_goes_back_to_a_secret_that_is_gone(
    registry: Served, database: Database, tmp_path: Path, how: str
) -> None:
    created = await created_connection(registry)
    async with registry.client() as client:
        if how == "shredded":
            async with registry.client("operator") as operator:
                shred = pb.ShredSecretsRequest(context=context(), stream_id=created.connection_id)
                await operator.ShredSecrets(shred)
        await client.UpdateConnection(update_of(created, password="new password"))
        await sweep(database, tmp_path, superseded_kept_s=0.0)
    named = await named_secrets(registry, created.connection_id)
    async with registry.client("operator") as operator:
        status, code = await refusal(operator.Revert(_back_to_the_first(created)))
    assert (status, code) == (grpc.StatusCode.FAILED_PRECONDITION, str(SECRET_DESTROYED))
    assert await named_secrets(registry, created.connection_id) == named, "nothing was written"


async def test_shredding_leaves_an_event_and_no_secret(
    registry: Served, database: Database
) -> None:
    created = await created_connection(registry)
    shred = pb.ShredSecretsRequest(context=context(), stream_id=created.connection_id)
    async with registry.client() as client:
        await client.UpdateConnection(update_of(created, password="new password"))
    assert len(await secret_rows(database)) == 2
    async with registry.client("operator") as client, registry.client("router") as router:
        first = await client.ShredSecrets(shred)
        assert (first.version, first.changed) == (3, True)
        assert await secret_rows(database) == {}
        async with owner_of(database) as owner:
            assert await owner.fetchval("SELECT count(*) FROM vault.data_keys") == 0
        assert (await client.ShredSecrets(shred)).replayed
        shred.context.CopyFrom(context())
        assert not (await client.ShredSecrets(shred)).changed
        old, new, _ = await named_secrets(registry, created.connection_id)
        for secret_id in (old, new):
            read = pb.ReadCredentialRequest(stream_id=created.connection_id, secret_id=secret_id)
            with pytest.raises(grpc.aio.AioRpcError, match="has no credentials") as caught:
                await router.ReadCredential(read)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert (await verified(client)).intact
    async with registry.client() as client:
        status, _ = await refusal(client.UpdateConnection(update_of(created)))
        assert status is grpc.StatusCode.FAILED_PRECONDITION, "there is nothing to keep"
        await client.UpdateConnection(update_of(created, password="third password"))
    *_, third = await named_secrets(registry, created.connection_id)
    assert await read_password(registry, created.connection_id, third) == "third password"
    assert await secret_rows(database) == {third: USED}


@pytest.mark.parametrize("stream_id", [str(uuid4()), "nonsense"], ids=["unknown", "nonsense"])
async def test_shredding_what_is_not_there_is_refused(registry: Served, stream_id: str) -> None:
    async with registry.client("operator") as client:
        shred = pb.ShredSecretsRequest(context=context(), stream_id=stream_id)
        status, _ = await refusal(client.ShredSecrets(shred))
    expected = grpc.StatusCode.INVALID_ARGUMENT
    assert status is (expected if stream_id == "nonsense" else grpc.StatusCode.NOT_FOUND)


async def test_a_secret_that_the_vault_lost_is_told_and_entered_again(
    registry: Served, database: Database
) -> None:
    """After an import, or an older backup of the vault: equal credentials are a change then."""
    created = await created_connection(registry)
    async with owner_of(database) as owner:
        await owner.execute("DELETE FROM vault.data_keys")
    (lost,) = await named_secrets(registry, created.connection_id)
    async with registry.client("router") as router:
        read = pb.ReadCredentialRequest(stream_id=created.connection_id, secret_id=lost)
        status, code = await refusal(router.ReadCredential(read))
    assert (status, code) == (grpc.StatusCode.NOT_FOUND, str(SECRET_GONE))
    async with registry.client() as client:
        renamed = await client.UpdateConnection(update_of(created, name=str(uuid4())))
        assert renamed.changed, "what does not touch the credentials goes on"
        entered = await client.UpdateConnection(update_of(created, password=PASSWORD))
        assert entered.changed
    *_, new = await named_secrets(registry, created.connection_id)
    assert new != lost
    assert await read_password(registry, created.connection_id, new) == PASSWORD


async def _created_listener(registry: Served) -> str:
    """A listener on Service Bus with a connection string; its id."""
    account, algorithm_id, flow_id = account_request("acme"), str(uuid4()), str(uuid4())
    now = datetime.now(UTC)
    finished: dict[str, Any] = {"started_at": now, "finished_at": now}
    async with registry.client() as client:
        await client.CreateAccount(account)
        await client.CreateAlgorithm(
            pb.CreateAlgorithmRequest(
                context=context(),
                algorithm_id=algorithm_id,
                owner_id=account.account_id,
                name="echo",
                source_kind=events_pb2.SOURCE_KIND_GIT,
                source_url="file:///srv/echo",
            )
        )
        await client.FinishBuild(
            pb.FinishBuildRequest(
                context=context(),
                algorithm_id=algorithm_id,
                build_id=str(uuid4()),
                commit_sha="a" * 40,
                succeeded=True,
                **finished,
            )
        )
        await client.PublishVersion(
            pb.PublishVersionRequest(
                context=context(),
                algorithm_id=algorithm_id,
                callability=events_pb2.CALLABILITY_PRIVATE,
            )
        )
        await client.CreateListener(
            pb.CreateListenerRequest(
                context=context(),
                flow_id=flow_id,
                owner_id=account.account_id,
                algorithm_id=algorithm_id,
                broker=events_pb2.BROKER_KIND_SERVICE_BUS,
                source_uri="orders",
                credentials=pb.Credential(connection_string="Endpoint=sb://here/;SharedKey=word"),
            )
        )
    return flow_id


async def test_a_listeners_secret_is_shredded_and_does_not_come_back(
    registry: Served, database: Database
) -> None:
    flow_id = await _created_listener(registry)
    (secret, *_) = await named_secrets(registry, flow_id)
    assert await secret_rows(database) == {secret: USED}
    async with registry.client("operator") as operator:
        shred = pb.ShredSecretsRequest(context=context(), stream_id=flow_id)
        result = await operator.ShredSecrets(shred)
        assert result.changed
        assert await secret_rows(database) == {}
        back = pb.RevertRequest(
            context=context(),
            kind=catalog_pb2.AGGREGATE_KIND_FLOW,
            stream_id=flow_id,
            to_version=result.version - 1,
        )
        status, _ = await refusal(operator.Revert(back))
        assert status is grpc.StatusCode.FAILED_PRECONDITION
    async with registry.client("router") as router:
        read = pb.ReadCredentialRequest(stream_id=flow_id, secret_id=secret)
        with pytest.raises(grpc.aio.AioRpcError, match="has no credentials"):
            await router.ReadCredential(read)
