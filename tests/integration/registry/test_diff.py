"""What differs between two moments and who changed it, by gRPC on PostgreSQL."""

from __future__ import annotations

import pytest
from catalog.events import ApiType
from catalog.metadata import metadata_of
from eventflows.catalog.v1 import catalog_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from grpc import StatusCode
from registry.application import diff

from tests.support.registry import Served, account_request, refusal
from tests.support.registry_wires import TOPIC, wired

FLOW = catalog_pb2.AGGREGATE_KIND_FLOW
ACCOUNT = catalog_pb2.AGGREGATE_KIND_ACCOUNT
TOPIC_ACCESS = catalog_pb2.AGGREGATE_KIND_TOPIC_ACCESS


def between(first: int, last: int | None = None, **fields: object) -> pb.DiffRequest:
    request = pb.DiffRequest(**fields)  # type: ignore[arg-type]
    getattr(request, "from").position = first
    if last is not None:
        request.to.position = last
    return request


def lines(answer: pb.DiffResponse) -> list[tuple[str, str, str, str]]:
    return [(one.name, one.field, getattr(one, "from"), one.to) for one in answer.changes]


async def test_who_changed_what_when_by_which_key_command_and_request(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.grant(ApiType.SUBSCRIBER)
        enabled = await wires.enable()
        changed = await wires.enable(concurrency_max=5)
        answer = await client.Diff(between(enabled.position))
        (one,) = answer.changes
        assert (one.kind, one.id) == (FLOW, wires.flow_id)
        assert one.name == (
            f"{wires.owner_name}/digits ← {TOPIC} on {wires.connection_name} (subscriber)"
        )
        assert (one.field, getattr(one, "from"), one.to) == (
            "runs at the same time", "router's default", "5",
        )  # fmt: skip
        assert (one.position, one.event_name) == (changed.position, "flow.enabled.v1")
        assert (one.actor_name, one.key_label) == (wires.owner_name, "deploy")
        (event,) = (await client.ReadLog(pb.ReadLogRequest(limit=1, newest_first=True))).events
        assert (one.metadata, one.time) == (event.metadata, event.time)
        assert metadata_of(one.metadata).correlation_id == "req-1"
        assert getattr(answer, "from").position == enabled.position
        assert answer.to.position == changed.position


async def test_a_service_has_its_own_name_and_a_revoked_key_its_label(registry: Served) -> None:
    async with registry.client() as client:
        begin = await wired(client)
        first = await begin.head()
        await begin.grant(ApiType.SUBSCRIBER)
        await begin.revoke(begin.key_id)
        of_flow = await client.Diff(between(first, kinds=[FLOW]))
        assert {one.key_label for one in of_flow.changes} == {"deploy"}
        assert {one.event_name for one in of_flow.changes} == {"topic_access.set.v1"}
        made = await client.Diff(between(0, first, kinds=[ACCOUNT]))
        assert {(one.actor_name, one.key_label) for one in made.changes} >= {
            ("service:operator", "")
        }


async def test_what_went_there_and_back_does_not_differ(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.grant(ApiType.SUBSCRIBER)
        first = (await wires.enable()).position
        await wires.disable()
        await wires.enable()
        await wires.grant(ApiType.SUBSCRIBER, ApiType.PUBLISHER)
        await wires.grant(ApiType.SUBSCRIBER)
        assert lines(await client.Diff(between(first))) == []


async def test_of_new_credentials_only_the_fact_is_told(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        first = await wires.head()
        await wires.update_connection("another password")
        answer = await client.Diff(between(first))
        assert lines(answer) == [(wires.connection_name, "credentials", "set", "changed")]
        assert "another password" not in str(answer)
        connection = await client.GetAggregate(
            pb.GetAggregateRequest(
                kind=catalog_pb2.AGGREGATE_KIND_CONNECTION, id=wires.connection_id
            )
        )
        reference = connection.aggregate.connection.credentials
        for hidden in (
            reference.secret_id,
            reference.fingerprint.hex(),
            str(reference.fingerprint),
        ):
            assert hidden not in str(answer)


async def test_ids_find_what_changed_also_through_other_streams(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        first = await wires.head()
        await wires.grant(ApiType.SUBSCRIBER)
        await wires.publish()
        everything = await client.Diff(between(first))
        by_id = await client.Diff(between(first, ids=[wires.flow_id.upper()]))
        expected = [one for one in everything.changes if one.id == wires.flow_id]
        assert list(by_id.changes) == expected
        assert len(expected) > 1
        assert {one.id for one in everything.changes} == {
            wires.flow_id, wires.access_id, wires.algorithm_id,
        }  # fmt: skip


async def test_more_events_than_can_be_compared_are_refused_but_not_by_id(
    registry: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff, "EVENTS_MAX", 5)
    async with registry.client() as client:
        wires = await wired(client)
        first = await wires.head()
        await wires.grant(ApiType.SUBSCRIBER)
        for number in range(6):
            await client.CreateAccount(account_request(f"user{number}"))
        assert await refusal(client.Diff(between(first))) == (StatusCode.OUT_OF_RANGE, "9013")
        by_id = await client.Diff(between(first, ids=[wires.flow_id]))
        assert by_id.changes[0].to == "exists"
        by_kind = await client.Diff(between(first, kinds=[TOPIC_ACCESS]))
        assert {one.name for one in by_kind.changes} == {f"{TOPIC} on {wires.connection_name}"}
        assert await refusal(client.Diff(between(first, kinds=[FLOW]))) == (
            StatusCode.OUT_OF_RANGE, "9013",
        )  # fmt: skip
        assert (await client.Diff(between(first + 2, first + 7))).changes


async def test_more_changes_than_an_answer_holds_are_refused(
    registry: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff, "CHANGES_MAX", 3)
    async with registry.client() as client:
        await client.CreateAccount(account_request("acme"))
        assert await refusal(client.Diff(between(0))) == (StatusCode.OUT_OF_RANGE, "9013")


async def test_moments_that_make_no_sense_are_refused(registry: Served) -> None:
    async with registry.client() as client:
        for number in range(3):
            await client.CreateAccount(account_request(f"user{number}"))
        bad = [
            between(3, 2), between(4), between(-1), between(0, 9), between(0, ids=["acme"]),
            between(0, ids=[f"00000000-0000-4000-8000-{number:012}" for number in range(26)]),
            between(0, kinds=[0]), between(0, kinds=[99]),
        ]  # fmt: skip
        for request in bad:
            status, _ = await refusal(client.Diff(request))
            assert status is StatusCode.INVALID_ARGUMENT, request
        assert lines(await client.Diff(pb.DiffRequest())) == []
