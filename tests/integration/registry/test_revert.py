"""Back to an earlier version by gRPC on PostgreSQL: a command like any other."""

from __future__ import annotations

from collections.abc import Awaitable
from uuid import uuid4

import grpc.aio
import pytest
from catalog.events import ApiType
from catalog.metadata import metadata_of
from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from grpc import StatusCode

from tests.support.registry import Served, refusal, verified
from tests.support.registry_wires import Wires, wired

ACCOUNT = catalog_pb2.AGGREGATE_KIND_ACCOUNT
ALGORITHM = catalog_pb2.AGGREGATE_KIND_ALGORITHM
CONNECTION = catalog_pb2.AGGREGATE_KIND_CONNECTION
TOPIC_ACCESS = catalog_pb2.AGGREGATE_KIND_TOPIC_ACCESS
FLOW = catalog_pb2.AGGREGATE_KIND_FLOW


def to(wires: Wires, kind: int, stream_id: str, version: int, **about: object) -> pb.RevertRequest:
    return pb.RevertRequest(
        context=wires.context(**about),
        kind=kind,  # type: ignore[arg-type]
        stream_id=stream_id,
        to_version=version,
    )


async def state(wires: Wires, kind: int, id_: str) -> catalog_pb2.Aggregate:
    request = pb.GetAggregateRequest(kind=kind, id=id_)  # type: ignore[arg-type]
    return (await wires.client.GetAggregate(request)).aggregate


async def sentence(call: Awaitable[object]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return str(caught.value.details())


# ---- what comes back -----------------------------------------------------------------------------


async def test_a_flow_goes_back_to_its_settings_by_a_new_event(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.grant(ApiType.SUBSCRIBER)
        await wires.enable(concurrency_max=3, algorithm_version="0.1.0")
        await wires.enable(concurrency_max=9)
        await wires.disable()
        result = await client.Revert(to(wires, FLOW, wires.flow_id, 2))
        assert (result.changed, result.version, result.stream_id) == (True, 5, wires.flow_id)
        flow = (await state(wires, FLOW, wires.flow_id)).flow
        assert (flow.settings.concurrency_max, flow.settings.algorithm_version) == (3, "0.1.0")
        (event,) = (await client.ReadLog(pb.ReadLogRequest(limit=1, newest_first=True))).events
        assert event.event.WhichOneof("kind") == "flow_enabled"
        assert metadata_of(event.metadata).key_id == wires.key_id
        assert (await verified(client)).intact

        again = await client.Revert(to(wires, FLOW, wires.flow_id, 2))
        assert (again.changed, again.version) == (False, 5)
        disabled = await client.Revert(to(wires, FLOW, wires.flow_id, 4))
        assert (disabled.changed, disabled.version) == (True, 6)
        assert not (await state(wires, FLOW, wires.flow_id)).flow.HasField("settings")


async def test_grants_and_keys_go_back(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.grant(ApiType.SUBSCRIBER, ApiType.PUBLISHER)
        await wires.grant()
        assert (await client.Revert(to(wires, TOPIC_ACCESS, wires.access_id, 1))).changed
        access = (await state(wires, TOPIC_ACCESS, wires.access_id)).topic_access
        assert [one.api_type for one in access.grants] == [
            events_pb2.API_TYPE_SUBSCRIBER, events_pb2.API_TYPE_PUBLISHER,
        ]  # fmt: skip
        for label in ("second", "third"):
            await wires.key(label)
        assert (await client.Revert(to(wires, ACCOUNT, wires.owner_id, 2))).version == 6
        account = (await state(wires, ACCOUNT, wires.owner_id)).account
        assert [key.label for key in account.keys] == ["deploy"]


async def test_a_connection_goes_back_with_the_credentials_of_then(registry: Served) -> None:
    async with registry.client() as client, registry.client("router") as router:
        wires = await wired(client)
        first = (await state(wires, CONNECTION, wires.connection_id)).connection.credentials
        await wires.update_connection("another password")
        second = (await state(wires, CONNECTION, wires.connection_id)).connection.credentials
        assert second.secret_id != first.secret_id
        assert (await client.Revert(to(wires, CONNECTION, wires.connection_id, 1))).changed
        now = (await state(wires, CONNECTION, wires.connection_id)).connection
        assert now.credentials == first
        assert now.stream_version == 3
        credential = await router.ReadCredential(
            pb.ReadCredentialRequest(stream_id=wires.connection_id, secret_id=first.secret_id)
        )
        assert credential.password == "correct horse battery"


async def test_a_name_that_was_given_up_and_taken_does_not_come_back(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.update_connection(name="other name")
        other = await wired(client)
        await other.update_connection(name=wires.connection_name)
        request = to(wires, CONNECTION, wires.connection_id, 1)
        assert (await refusal(client.Revert(request)))[0] is StatusCode.ALREADY_EXISTS


# ---- a command like any other --------------------------------------------------------------------


async def test_a_repeated_revert_gives_the_first_answer(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.grant(ApiType.SUBSCRIBER)
        await wires.grant()
        request = to(wires, TOPIC_ACCESS, wires.access_id, 1)
        first = await client.Revert(request)
        await wires.grant()
        again = await client.Revert(request)
        assert again.replayed
        assert (again.version, again.position) == (first.version, first.position)
        other = to(wires, TOPIC_ACCESS, wires.access_id, 2)
        other.context.command_id = request.context.command_id
        assert await refusal(client.Revert(other)) == (StatusCode.FAILED_PRECONDITION, "9011")


async def test_a_stale_revert_is_refused(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.grant(ApiType.SUBSCRIBER)
        await wires.grant()
        stale = to(wires, TOPIC_ACCESS, wires.access_id, 1, expected_version=1)
        assert (await refusal(client.Revert(stale)))[0] is StatusCode.ABORTED
        fresh = to(wires, TOPIC_ACCESS, wires.access_id, 1, expected_version=2)
        assert (await client.Revert(fresh)).changed


# ---- what does not come back ---------------------------------------------------------------------


async def test_a_flow_whose_grant_is_gone_is_not_enabled_again(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.grant(ApiType.SUBSCRIBER)
        await wires.enable()
        await wires.disable()
        await wires.grant()
        request = to(wires, FLOW, wires.flow_id, 2)
        assert "the grant for this topic was taken away" in await sentence(client.Revert(request))
        assert not (await client.Revert(to(wires, FLOW, wires.flow_id, 1))).changed


async def test_a_dead_letter_topic_without_a_grant_does_not_come_back(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.grant(ApiType.SUBSCRIBER)
        await wires.grant(ApiType.DEAD_LETTER, topic="dead")
        await wires.enable(dead_letter_topic="dead")
        await wires.enable()
        await wires.grant(topic="dead")
        said = await sentence(client.Revert(to(wires, FLOW, wires.flow_id, 2)))
        assert "may not write to this dead_letter_topic" in said


async def test_what_was_deleted_stays_deleted(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.grant(ApiType.SUBSCRIBER)
        await wires.grant()
        await client.DeleteConnection(
            pb.DeleteConnectionRequest(context=wires.context(), connection_id=wires.connection_id)
        )
        request = to(wires, CONNECTION, wires.connection_id, 1)
        assert "deleted for good" in await sentence(client.Revert(request))
        request = to(wires, TOPIC_ACCESS, wires.access_id, 1)
        assert "there is no connection" in await sentence(client.Revert(request))


async def test_revoked_keys_and_published_versions_stay_as_they_are(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        key_id = await wires.key("leaked")
        await wires.revoke(key_id)
        request = to(wires, ACCOUNT, wires.owner_id, 3)
        assert "a revoked API key does not come back (leaked)" in await sentence(
            client.Revert(request)
        )
        await wires.publish()
        request = to(wires, ALGORITHM, wires.algorithm_id, 3)
        assert "versions of an algorithm stay" in await sentence(client.Revert(request))


async def test_shredded_credentials_do_not_come_back(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await client.ShredSecrets(
            pb.ShredSecretsRequest(context=wires.context(), stream_id=wires.connection_id)
        )
        position = await wires.head()
        for _ in range(2):
            request = to(wires, CONNECTION, wires.connection_id, 1)
            assert "were destroyed: enter new ones" in await sentence(client.Revert(request))
        assert await wires.head() == position
        await wires.update_connection("a new password")
        request = to(wires, CONNECTION, wires.connection_id, 1)
        assert "were destroyed: enter new ones" in await sentence(client.Revert(request))
        request = to(wires, CONNECTION, wires.connection_id, 2)
        assert "had no credentials" in await sentence(client.Revert(request))


async def test_what_makes_no_sense_is_refused_and_nothing_is_written(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.grant(ApiType.SUBSCRIBER)
        position = await wires.head()
        bad = {
            StatusCode.INVALID_ARGUMENT: [
                to(wires, FLOW, "acme", 1),
                to(wires, 0, wires.access_id, 1),
                to(wires, 99, wires.access_id, 1),
                to(wires, TOPIC_ACCESS, wires.access_id, 0),
                to(wires, TOPIC_ACCESS, wires.access_id, -1),
                to(wires, TOPIC_ACCESS, wires.access_id, 2),
                to(wires, TOPIC_ACCESS, wires.access_id, 1, command_id="one"),
                to(wires, TOPIC_ACCESS, wires.access_id, 1, actor="somebody"),
            ],
            StatusCode.NOT_FOUND: [
                to(wires, FLOW, wires.flow_id, 1),  # it has its grant only
                to(wires, FLOW, str(uuid4()), 1),
                to(wires, FLOW, wires.access_id, 1),
            ],
        }
        for expected, requests in bad.items():
            for request in requests:
                assert (await refusal(client.Revert(request)))[0] is expected, request
        assert await wires.head() == position
