"""Reads, differences and reverts of a log whose beginning went to files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
from eventflows.catalog.v1 import catalog_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from grpc import StatusCode

from tests.integration.registry.test_archive import with_small_partitions, world_on
from tests.support.exports import access_request, fill
from tests.support.registry import Database, context, refusal, served

if TYPE_CHECKING:
    from eventflows.registry.v1.registry_pb2_grpc import RegistryAsyncStub

Archive: TypeAlias = "tuple[RegistryAsyncStub, dict[str, str]]"
ACCOUNT = catalog_pb2.AGGREGATE_KIND_ACCOUNT
FLOW = catalog_pb2.AGGREGATE_KIND_FLOW
TOPIC_ACCESS = catalog_pb2.AGGREGATE_KIND_TOPIC_ACCESS
ARCHIVED = 20
REFUSED = (StatusCode.FAILED_PRECONDITION, "9010")


@pytest.fixture
async def archived(database: Database, tmp_path: Path) -> AsyncIterator[Archive]:
    """A wired registry whose first 20 events are gone, and the ids of what they made."""
    await with_small_partitions(database)
    async with served(database, tmp_path) as registry, registry.client() as gateway:
        ids = await fill(gateway)
    folder = tmp_path / "archive"
    folder.mkdir()
    async with world_on(database) as world:
        await world.append(10)
        await world.snapshot()
        await world.append(1)
        await world.snapshot()
        assert len(await world.archiver.run(below=ARCHIVED, folder=folder)) == 2
    async with served(database, tmp_path) as registry, registry.client() as gateway:
        yield gateway, ids


async def test_what_the_archive_told_of_is_still_known_now(archived: Archive) -> None:
    client, ids = archived
    for kind, name in ((ACCOUNT, "account"), (FLOW, "flow")):
        answer = await client.GetAggregate(pb.GetAggregateRequest(kind=kind, id=ids[name]))
        assert answer.HasField("aggregate")
        assert answer.moment.position > ARCHIVED
    accounts = await client.ListAggregates(pb.ListAggregatesRequest(kind=ACCOUNT))
    assert ids["account"] in [one.account.account_id for one in accounts.aggregates]


async def test_moments_and_pages_below_it_are_refused(archived: Archive) -> None:
    client, ids = archived
    below = pb.AsOf(position=ARCHIVED - 1)
    between = pb.DiffRequest()
    getattr(between, "from").CopyFrom(below)
    calls: list[Awaitable[object]] = [
        client.GetAggregate(pb.GetAggregateRequest(kind=ACCOUNT, id=ids["account"], as_of=below)),
        client.ListAggregates(pb.ListAggregatesRequest(kind=ACCOUNT, as_of=below)),
        client.Diff(between),
        client.ReadLog(pb.ReadLogRequest(after_position=ARCHIVED - 1)),
        client.ReadLog(pb.ReadLogRequest(after_position=ARCHIVED - 1, kinds=[ACCOUNT])),
        client.ReadLog(pb.ReadLogRequest(to_position=ARCHIVED, newest_first=True)),
    ]
    for call in calls:
        assert await refusal(call) == REFUSED


async def test_the_newest_events_come_down_to_the_archive(archived: Archive) -> None:
    client, _ = archived
    for kinds in ([], [ACCOUNT]):
        page = await client.ReadLog(pb.ReadLogRequest(newest_first=True, kinds=kinds))
        positions = [one.position for one in page.events]
        assert positions == list(range(page.head_position, ARCHIVED, -1))
        assert page.covered_position == ARCHIVED + 1


async def test_statistics_tell_where_the_log_begins(archived: Archive) -> None:
    client, _ = archived
    found = await client.GetLogStatistics(pb.GetLogStatisticsRequest())
    assert found.first_position == ARCHIVED + 1
    assert sum(found.events_of_kind.values()) == found.head.position - ARCHIVED
    assert len(found.snapshot_positions) >= 2


async def test_a_stream_goes_back_to_what_the_archive_kept_of_it_and_not_before(
    archived: Archive,
) -> None:
    client, ids = archived
    await client.DisableFlow(pb.DisableFlowRequest(context=context(), flow_id=ids["flow"]))
    flow = pb.RevertRequest(context=context(), kind=FLOW, stream_id=ids["flow"], to_version=2)
    result = await client.Revert(flow)
    assert (result.changed, result.version) == (True, 4)
    older = pb.RevertRequest(context=context(), kind=FLOW, stream_id=ids["flow"], to_version=1)
    assert (await refusal(client.Revert(older)))[0] is StatusCode.INVALID_ARGUMENT

    taken = await client.SetTopicAccess(access_request(ids["connection"]))
    back = pb.RevertRequest(
        context=context(), kind=TOPIC_ACCESS, stream_id=taken.stream_id, to_version=1
    )
    assert (await client.Revert(back)).changed
    answer = await client.GetAggregate(
        pb.GetAggregateRequest(kind=TOPIC_ACCESS, id=taken.stream_id)
    )
    assert len(answer.aggregate.topic_access.grants) == 1
    not_it = pb.RevertRequest(
        context=context(), kind=ACCOUNT, stream_id=taken.stream_id, to_version=1
    )
    assert (await refusal(client.Revert(not_it)))[0] is StatusCode.NOT_FOUND
