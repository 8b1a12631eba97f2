"""Commands by gRPC against the real service."""

from __future__ import annotations

from hashlib import sha256
from uuid import uuid4

import grpc.aio
import pytest
from catalog.events import ApiType
from catalog.identifiers import granted_flow_id
from catalog.metadata import metadata_of
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from tests.support.registry import (
    Served,
    account_request,
    connection_request,
    context,
    refusal,
    verified,
)


def _algorithm(owner_id: str, name: str = "Echo", **fields: object) -> pb.CreateAlgorithmRequest:
    given = {
        "context": context(),
        "algorithm_id": str(uuid4()),
        "owner_id": owner_id,
        "name": name,
        "source_kind": events_pb2.SOURCE_KIND_GIT,
        "source_url": "file:///srv/echo",
        **fields,
    }
    return pb.CreateAlgorithmRequest(**given)  # type: ignore[arg-type]


def _build(algorithm_id: str, *, succeeded: bool = True) -> pb.FinishBuildRequest:
    return pb.FinishBuildRequest(
        context=context(),
        algorithm_id=algorithm_id,
        build_id=str(uuid4()),
        commit_sha=sha256(str(uuid4()).encode()).hexdigest()[:40],
        succeeded=succeeded,
        log_tail="done",
        started_at=Timestamp(seconds=1_700_000_000),
        finished_at=Timestamp(seconds=1_700_000_010),
    )


def _publication(algorithm_id: str) -> pb.PublishVersionRequest:
    return pb.PublishVersionRequest(
        context=context(),
        algorithm_id=algorithm_id,
        callability=events_pb2.CALLABILITY_PRIVATE,
    )


async def _published(registry: Served) -> tuple[str, str]:
    """(account id, algorithm id) of an algorithm with version 0.1.0."""
    async with registry.client() as client:
        account = account_request(f"acme_{uuid4().hex[:8]}")
        await client.CreateAccount(account)
        algorithm = _algorithm(account.account_id)
        await client.CreateAlgorithm(algorithm)
        await client.FinishBuild(_build(algorithm.algorithm_id))
        await client.PublishVersion(_publication(algorithm.algorithm_id))
    return account.account_id, algorithm.algorithm_id


def _access(
    connection_id: str, algorithm_id: str, topic: str, *api_types: ApiType
) -> pb.SetTopicAccessRequest:
    return pb.SetTopicAccessRequest(
        context=context(),
        connection_id=connection_id,
        topic=topic,
        grants=[
            events_pb2.Grant(algorithm_id=algorithm_id, api_type=api_type.value)  # type: ignore[arg-type]
            for api_type in api_types
        ],
    )


async def test_the_whole_way_from_an_account_to_an_enabled_flow(registry: Served) -> None:
    _, algorithm_id = await _published(registry)
    async with registry.client() as client:
        connection = connection_request()
        await client.CreateConnection(connection)
        connection_id = connection.connection_id
        flow_id = granted_flow_id(
            connection_id=connection_id, topic="in", algorithm_id=algorithm_id,
            api_type=ApiType.SUBSCRIBER,
        )  # fmt: skip
        enable = pb.EnableFlowRequest(context=context(), flow_id=flow_id)
        assert await refusal(client.EnableFlow(enable)) == (StatusCode.NOT_FOUND, "9004")
        await client.SetTopicAccess(_access(connection_id, algorithm_id, "in", ApiType.SUBSCRIBER))

        enabled = await client.EnableFlow(enable)
        assert (enabled.stream_id, enabled.version) == (flow_id, 2)
        assert enabled.changed
        same = await client.EnableFlow(pb.EnableFlowRequest(context=context(), flow_id=flow_id))
        assert (same.changed, same.version, same.replayed) == (False, 2, False)
        assert same.position >= enabled.position
        disabled = await client.DisableFlow(
            pb.DisableFlowRequest(context=context(), flow_id=flow_id)
        )
        assert (disabled.changed, disabled.version) == (True, 3)

        await client.SetTopicAccess(_access(connection_id, algorithm_id, "in"))
        again = pb.EnableFlowRequest(context=context(), flow_id=flow_id)
        assert await refusal(client.EnableFlow(again)) == (
            StatusCode.PERMISSION_DENIED, "2001",
        )  # fmt: skip


async def test_a_dead_letter_topic_needs_a_grant(registry: Served) -> None:
    _, algorithm_id = await _published(registry)
    async with registry.client() as client:
        connection = connection_request()
        await client.CreateConnection(connection)
        connection_id = connection.connection_id
        await client.SetTopicAccess(_access(connection_id, algorithm_id, "in", ApiType.SUBSCRIBER))
        flow_id = granted_flow_id(
            connection_id=connection_id, topic="in", algorithm_id=algorithm_id,
            api_type=ApiType.SUBSCRIBER,
        )  # fmt: skip
        enable = pb.EnableFlowRequest(context=context(), flow_id=flow_id, dead_letter_topic="dead")
        assert (await refusal(client.EnableFlow(enable)))[0] is StatusCode.PERMISSION_DENIED
        await client.SetTopicAccess(
            _access(connection_id, algorithm_id, "dead", ApiType.DEAD_LETTER)
        )
        assert (await client.EnableFlow(enable)).changed


async def test_only_published_algorithms_and_versions_can_be_wired(registry: Served) -> None:
    account_id, algorithm_id = await _published(registry)
    async with registry.client() as client:
        unpublished = _algorithm(account_id, "Unpublished")
        await client.CreateAlgorithm(unpublished)
        connection = connection_request()
        await client.CreateConnection(connection)
        access = _access(
            connection.connection_id, unpublished.algorithm_id, "in", ApiType.SUBSCRIBER
        )
        assert (await refusal(client.SetTopicAccess(access)))[0] is StatusCode.FAILED_PRECONDITION
        await client.SetTopicAccess(
            _access(connection.connection_id, algorithm_id, "in", ApiType.SUBSCRIBER)
        )
        flow_id = granted_flow_id(
            connection_id=connection.connection_id, topic="in", algorithm_id=algorithm_id,
            api_type=ApiType.SUBSCRIBER,
        )  # fmt: skip
        wrong = pb.EnableFlowRequest(context=context(), flow_id=flow_id, algorithm_version="7.0.0")
        assert await refusal(client.EnableFlow(wrong)) == (StatusCode.NOT_FOUND, "1014")
        right = pb.EnableFlowRequest(context=context(), flow_id=flow_id, algorithm_version="0.1.0")
        assert (await client.EnableFlow(right)).changed


async def test_a_build_is_published_once(registry: Served) -> None:
    _, algorithm_id = await _published(registry)
    async with registry.client() as client:
        assert await refusal(client.PublishVersion(_publication(algorithm_id))) == (
            StatusCode.FAILED_PRECONDITION, "1007",
        )  # fmt: skip


async def test_a_repeated_command_is_answered_as_before_even_if_it_would_be_refused_now(
    registry: Served,
) -> None:
    _, algorithm_id = await _published(registry)
    async with registry.client() as client:
        await client.FinishBuild(_build(algorithm_id))
        publication = _publication(algorithm_id)
        first = await client.PublishVersion(publication)
        publication.context.traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
        again = await client.PublishVersion(publication)
        assert (again.replayed, first.replayed) == (True, False)
        assert (again.version, again.position) == (first.version, first.position)
        publication.release_notes = "another body"
        assert await refusal(client.PublishVersion(publication)) == (
            StatusCode.FAILED_PRECONDITION, "9011",
        )  # fmt: skip


async def test_a_new_key_drawn_for_a_repeat_does_not_make_another_request(registry: Served) -> None:
    async with registry.client() as client:
        account = account_request("keyholder")
        await client.CreateAccount(account)
        request = pb.CreateApiKeyRequest(
            context=context(),
            account_id=account.account_id,
            key_id=str(uuid4()),
            key_type=events_pb2.KEY_TYPE_STANDARD,
            key_sha256=sha256(b"first").digest(),
            mask="simfi…rst",
        )
        assert not (await client.CreateApiKey(request)).replayed
        request.key_sha256 = sha256(b"second").digest()
        request.mask = "simse…ond"
        assert (await client.CreateApiKey(request)).replayed


async def test_names_and_mail_addresses_are_unique_whatever_their_case(registry: Served) -> None:
    async with registry.client() as client:
        await client.CreateAccount(account_request("Acme"))
        assert await refusal(client.CreateAccount(account_request("aCME", email="x@y.test"))) == (
            StatusCode.ALREADY_EXISTS, "3003",
        )  # fmt: skip
        taken = account_request("other", email="ACME@example.test")
        assert await refusal(client.CreateAccount(taken)) == (
            StatusCode.ALREADY_EXISTS, "3004",
        )  # fmt: skip
        fresh = account_request("other")
        assert (await client.CreateAccount(fresh)).version == 1


async def test_a_deleted_connection_frees_its_name_and_loses_its_secret(registry: Served) -> None:
    async with registry.client() as client, registry.client("router") as router:
        first = connection_request(name="the cluster")
        await client.CreateConnection(first)
        second = connection_request(name="The Cluster")
        assert (await refusal(client.CreateConnection(second)))[0] is StatusCode.ALREADY_EXISTS
        await client.DeleteConnection(
            pb.DeleteConnectionRequest(context=context(), connection_id=first.connection_id)
        )
        second.context.CopyFrom(context())
        assert (await client.CreateConnection(second)).changed
        watched = await anext(aiter(router.Watch(pb.WatchRequest())))
        secret_id = watched.events[0].event.connection_created.credentials.secret_id
        read = pb.ReadCredentialRequest(stream_id=first.connection_id, secret_id=secret_id)
        assert (await refusal(router.ReadCredential(read)))[0] is StatusCode.NOT_FOUND


async def test_the_expected_version_is_kept(registry: Served) -> None:
    async with registry.client() as client:
        account = account_request("versioned", context=context(expected_version=0))
        await client.CreateAccount(account)
        key = pb.CreateApiKeyRequest(
            context=context(expected_version=0),
            account_id=account.account_id,
            key_id=str(uuid4()),
            key_type=events_pb2.KEY_TYPE_ADMIN,
            key_sha256=sha256(b"key").digest(),
        )
        assert (await refusal(client.CreateApiKey(key)))[0] is StatusCode.ABORTED
        key.context.expected_version = 1
        assert (await client.CreateApiKey(key)).version == 2


async def test_a_listener_is_enabled_at_once_and_deleted_for_good(registry: Served) -> None:
    account_id, algorithm_id = await _published(registry)
    listener = pb.CreateListenerRequest(
        context=context(),
        flow_id=str(uuid4()),
        owner_id=account_id,
        algorithm_id=algorithm_id,
        broker=events_pb2.BROKER_KIND_SQS,
        source_uri="https://sqs.us-west-2.amazonaws.com/111122223333/q1",
        role_arn="arn:aws:iam::111122223333:role/reader",
    )
    async with registry.client() as client:
        created = await client.CreateListener(listener)
        assert created.version == 2
        after = pb.WatchRequest(after_position=created.position - 2)
        batch = await anext(aiter(client.Watch(after)))
        kinds = [event.event.WhichOneof("kind") for event in batch.events]
        assert kinds == ["flow_created", "flow_enabled"]
        assert batch.events[-1].event.flow_enabled.timeout_s == 420
        delete = pb.DeleteListenerRequest(context=context(), flow_id=listener.flow_id)
        assert (await client.DeleteListener(delete)).version == 3
        listener.context.CopyFrom(context())
        status, _ = await refusal(client.CreateListener(listener))
        assert status is StatusCode.FAILED_PRECONDITION


async def test_an_id_of_something_else_is_refused(registry: Served) -> None:
    async with registry.client() as client:
        account = account_request("somebody")
        await client.CreateAccount(account)
        connection = connection_request(connection_id=account.account_id)
        assert (await refusal(client.CreateConnection(connection)))[0] is StatusCode.ALREADY_EXISTS


async def test_a_wrong_value_is_refused_with_a_sentence_that_does_not_repeat_it(
    registry: Served,
) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----\n"
    async with registry.client() as client:
        for wrong in (
            connection_request(ca_certificate=pem),
            connection_request(ca_certificate="not a certificate MIIEvQIBADANBg"),
            connection_request(bootstrap_servers=["MIIEvQIBADANBg"]),
            connection_request(credentials=None),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.CreateConnection(wrong)
            assert caught.value.code() is StatusCode.INVALID_ARGUMENT
            assert "MIIEvQIBADANBg" not in str(caught.value)


async def test_the_event_tells_who_and_by_which_command(registry: Served) -> None:
    trace = f"00-{'1' * 32}-{'2' * 16}-01"
    account = account_request("traced", context=context(correlation_id="req-7", traceparent=trace))
    async with registry.client("operator") as client:
        await client.CreateAccount(account)
        batch = await anext(aiter(client.Watch(pb.WatchRequest())))
        (event,) = batch.events
        about = metadata_of(event.metadata)
        assert about.actor == "service:operator"
        assert about.command_id == account.context.command_id
        assert (about.correlation_id, about.traceparent) == ("req-7", trace)
        head = await client.GetHead(pb.GetHeadRequest())
        report = await verified(client)
        assert (report.intact, report.events, report.seals) == (True, 1, 1)
        assert report.head_hash == head.hash
        assert head.position == 1
