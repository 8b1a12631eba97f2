"""Aggregates, lists and the log by gRPC, now and as of a moment, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable
from uuid import uuid4

import pytest
from catalog.codec import recorded_from_message
from catalog.events import ApiType, TopicAccessSet
from catalog.metadata import metadata_of
from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from registry.entrypoints import reads_rpc

from tests.support.registry import Served, account_request, refusal
from tests.support.registry_wires import TOPIC, wired

ACCOUNT = catalog_pb2.AGGREGATE_KIND_ACCOUNT
ALGORITHM = catalog_pb2.AGGREGATE_KIND_ALGORITHM
CONNECTION = catalog_pb2.AGGREGATE_KIND_CONNECTION
TOPIC_ACCESS = catalog_pb2.AGGREGATE_KIND_TOPIC_ACCESS
FLOW = catalog_pb2.AGGREGATE_KIND_FLOW


def get(kind: int, id_: str, position: int | None = None) -> pb.GetAggregateRequest:
    as_of = None if position is None else pb.AsOf(position=position)
    return pb.GetAggregateRequest(kind=kind, id=id_, as_of=as_of)  # type: ignore[arg-type]


# ---- one aggregate -------------------------------------------------------------------------------


async def test_an_aggregate_is_told_as_it_was_at_any_position(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        begin = await wires.head()
        await wires.grant(ApiType.SUBSCRIBER)
        enabled = await wires.enable(concurrency_max=3)
        disabled = await wires.disable()

        now = await client.GetAggregate(get(FLOW, wires.flow_id))
        assert now.moment.position == disabled.position
        assert not now.aggregate.flow.HasField("settings")
        assert now.aggregate.flow.last_settings.concurrency_max == 3
        assert now.aggregate.flow.stream_version == 3

        then = await client.GetAggregate(get(FLOW, wires.flow_id, enabled.position))
        assert then.moment.position == enabled.position
        assert then.aggregate.flow.settings.concurrency_max == 3
        granted = await client.GetAggregate(get(FLOW, wires.flow_id, begin + 1))
        assert granted.aggregate.flow.channel.name == TOPIC
        assert granted.aggregate.flow.created_position == 0
        before = await client.GetAggregate(get(FLOW, wires.flow_id, begin))
        assert before.moment.position == begin
        assert not before.HasField("aggregate")


async def test_every_kind_has_its_state_and_no_secret(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.grant(ApiType.SUBSCRIBER)
        ids = {
            ACCOUNT: wires.owner_id, ALGORITHM: wires.algorithm_id,
            CONNECTION: wires.connection_id, TOPIC_ACCESS: wires.access_id, FLOW: wires.flow_id,
        }  # fmt: skip
        answers = {
            kind: (await client.GetAggregate(get(kind, id_))).aggregate for kind, id_ in ids.items()
        }
        assert answers[ACCOUNT].account.username == wires.owner_name
        assert [key.label for key in answers[ACCOUNT].account.keys] == ["deploy"]
        assert [one.version for one in answers[ALGORITHM].algorithm.versions] == ["0.1.0"]
        assert answers[CONNECTION].connection.credentials.secret_id
        assert answers[TOPIC_ACCESS].topic_access.topic == TOPIC
        for kind, one in answers.items():
            (state,) = [getattr(one, field.name) for field, _ in one.ListFields()]
            assert state.position > 0 or kind == FLOW
            assert "correct horse battery" not in str(one)


async def test_a_time_is_resolved_to_one_position_for_ever(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.grant(ApiType.SUBSCRIBER)
        (event,) = (await client.ReadLog(pb.ReadLogRequest(limit=1, newest_first=True))).events
        asked = pb.GetAggregateRequest(
            kind=TOPIC_ACCESS, id=wires.access_id, as_of=pb.AsOf(time=event.time)
        )
        first = await client.GetAggregate(asked)
        await wires.grant()
        assert await client.GetAggregate(asked) == first
        assert first.moment.position == event.position
        assert len(first.aggregate.topic_access.grants) == 1


async def test_what_does_not_exist_is_absent_and_what_makes_no_sense_is_refused(
    registry: Served,
) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        for kind, id_ in ((ACCOUNT, str(uuid4())), (ACCOUNT, wires.connection_id)):
            answer = await client.GetAggregate(get(kind, id_))
            assert not answer.HasField("aggregate")
        bad = [
            get(0, wires.owner_id), get(9, wires.owner_id), get(ACCOUNT, "acme"),
            get(ACCOUNT, wires.owner_id, -1), get(ACCOUNT, wires.owner_id, 10**9),
            pb.GetAggregateRequest(
                kind=ACCOUNT, id=wires.owner_id, as_of=pb.AsOf(time=Timestamp(seconds=10**10))
            ),
            pb.GetAggregateRequest(
                kind=ACCOUNT, id=wires.owner_id, as_of=pb.AsOf(time=Timestamp(seconds=1))
            ),
        ]  # fmt: skip
        for request in bad:
            assert await refusal(client.GetAggregate(request)) == (
                StatusCode.INVALID_ARGUMENT, "6001",
            )  # fmt: skip


# ---- lists ---------------------------------------------------------------------------------------


async def test_a_list_is_the_same_in_pages_while_the_log_goes_on(registry: Served) -> None:
    async with registry.client() as client:
        accounts = [account_request(f"user{number}") for number in range(5)]
        for account in accounts:
            await client.CreateAccount(account)
        names, token = [], ""
        while True:
            page = await client.ListAggregates(
                pb.ListAggregatesRequest(kind=ACCOUNT, page_size=2, page_token=token)
            )
            names += [one.account.username for one in page.aggregates]
            assert page.moment.position == 5
            await client.CreateAccount(account_request(f"later{len(names)}"))
            token = page.next_page_token
            if not token:
                break
        assert names == [f"user{number}" for number in range(5)]
        then = pb.ListAggregatesRequest(kind=ACCOUNT, as_of=pb.AsOf(position=3))
        answer = await client.ListAggregates(then)
        assert [one.account.username for one in answer.aggregates] == names[:3]
        assert answer.next_page_token == ""


async def test_a_token_of_another_list_is_refused(registry: Served) -> None:
    async with registry.client() as client:
        for number in range(3):
            await client.CreateAccount(account_request(f"user{number}"))
        page = await client.ListAggregates(pb.ListAggregatesRequest(kind=ACCOUNT, page_size=1))
        token = page.next_page_token
        same = pb.AsOf(position=page.moment.position)
        going_on = pb.ListAggregatesRequest(kind=ACCOUNT, page_token=token, as_of=same)
        assert len((await client.ListAggregates(going_on)).aggregates) == 2
        bad = [
            pb.ListAggregatesRequest(kind=FLOW, page_token=token),
            pb.ListAggregatesRequest(kind=ACCOUNT, page_token=token, as_of=pb.AsOf(position=1)),
            pb.ListAggregatesRequest(kind=ACCOUNT, page_token=token[:-1]),
            pb.ListAggregatesRequest(kind=ACCOUNT, page_token="é"),
            pb.ListAggregatesRequest(kind=ACCOUNT, page_token="A" * 100_000),
            pb.ListAggregatesRequest(kind=ACCOUNT, page_token="djE6MTozOjk5"),  # v1:1:3:99
            pb.ListAggregatesRequest(kind=ACCOUNT, page_token="djE6MTo5OTow"),  # v1:1:99:0
            pb.ListAggregatesRequest(kind=ACCOUNT, page_size=1_001),
            pb.ListAggregatesRequest(kind=ACCOUNT, page_size=-1),
            pb.ListAggregatesRequest(),
        ]
        for request in bad:
            status, _ = await refusal(client.ListAggregates(request))
            assert status is StatusCode.INVALID_ARGUMENT, request


async def test_no_answer_is_larger_than_a_message_may_be(
    registry: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with registry.client() as client:
        ids = []
        for number in range(4):
            account = account_request(f"user{number}", fullname="n" * 200)
            await client.CreateAccount(account)
            ids.append(account.account_id)
        monkeypatch.setattr(reads_rpc, "ANSWER_BYTES_MAX", 700)
        found, token = [], ""
        while True:
            page = await client.ListAggregates(
                pb.ListAggregatesRequest(kind=ACCOUNT, page_token=token)
            )
            assert 0 < len(page.aggregates) < 3
            found += [one.account.account_id for one in page.aggregates]
            token = page.next_page_token
            if not token:
                break
        assert found == ids
        monkeypatch.setattr(reads_rpc, "ANSWER_BYTES_MAX", 100)
        too_large = (StatusCode.OUT_OF_RANGE, "9013")
        assert await refusal(client.GetAggregate(get(ACCOUNT, ids[0]))) == too_large
        for_diff = pb.DiffRequest(to=pb.AsOf(position=2))
        getattr(for_diff, "from").position = 1
        assert await refusal(client.Diff(for_diff)) == too_large


# ---- the log -------------------------------------------------------------------------------------


async def test_the_log_is_read_in_pages_in_both_directions(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.grant(ApiType.SUBSCRIBER)
        await wires.enable()
        head = await wires.head()
        forwards: list[events_pb2.RecordedEvent] = []
        after = 0
        while after < head:
            page = await client.ReadLog(pb.ReadLogRequest(after_position=after, limit=3))
            assert page.head_position == head
            forwards += page.events
            after = page.covered_position
        assert [one.position for one in forwards] == list(range(1, head + 1))
        backwards: list[events_pb2.RecordedEvent] = []
        to = head
        while to > 0:
            page = await client.ReadLog(
                pb.ReadLogRequest(to_position=to, limit=3, newest_first=True)
            )
            backwards += page.events
            to = page.covered_position - 1
        assert backwards == forwards[::-1]
        assert isinstance(recorded_from_message(forwards[-3]).event, TopicAccessSet)
        assert metadata_of(forwards[-3].metadata).key_id == wires.key_id


@pytest.mark.parametrize("newest_first", [False, True])
async def test_only_events_of_these_kinds_or_streams_come(
    registry: Served, newest_first: bool
) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        await wires.grant(ApiType.SUBSCRIBER)
        await wires.enable()
        head = await wires.head()
        request = pb.ReadLogRequest(
            kinds=[FLOW], stream_ids=[wires.access_id.upper()], newest_first=newest_first
        )
        page = await client.ReadLog(request)
        found = [one.stream_id for one in page.events]
        assert sorted(found) == sorted([wires.access_id, wires.flow_id, wires.flow_id])
        assert page.covered_position == (1 if newest_first else head)
        positions = [one.position for one in page.events]
        assert positions == sorted(positions, reverse=newest_first)


async def test_an_empty_stretch_is_covered(registry: Served) -> None:
    async with registry.client() as client:
        empty = await client.ReadLog(pb.ReadLogRequest())
        assert (list(empty.events), empty.head_position, empty.covered_position) == ([], 0, 0)
        backwards = await client.ReadLog(pb.ReadLogRequest(newest_first=True))
        assert (list(backwards.events), backwards.covered_position) == ([], 1)
        await client.CreateAccount(account_request("acme"))
        end = await client.ReadLog(pb.ReadLogRequest(after_position=1))
        assert (list(end.events), end.covered_position) == ([], 1)


async def test_positions_that_the_log_does_not_have_are_refused(registry: Served) -> None:
    async with registry.client() as client:
        for number in range(3):
            await client.CreateAccount(account_request(f"user{number}"))
        missing = [
            pb.ReadLogRequest(after_position=4), pb.ReadLogRequest(to_position=4),
            pb.ReadLogRequest(to_position=4, newest_first=True),
        ]  # fmt: skip
        for request in missing:
            assert await refusal(client.ReadLog(request)) == (StatusCode.NOT_FOUND, "9004")
        bad = [
            pb.ReadLogRequest(after_position=-1), pb.ReadLogRequest(to_position=-1),
            pb.ReadLogRequest(after_position=3, to_position=2), pb.ReadLogRequest(limit=-1),
            pb.ReadLogRequest(limit=1_001), pb.ReadLogRequest(kinds=[7]),  # type: ignore[list-item]
            pb.ReadLogRequest(stream_ids=["acme"]),
        ]  # fmt: skip
        for request in bad:
            status, _ = await refusal(client.ReadLog(request))
            assert status is StatusCode.INVALID_ARGUMENT, request


# ---- how much it is ------------------------------------------------------------------------------


async def test_statistics_tell_what_the_log_holds(registry: Served) -> None:
    async with registry.client() as client:
        wires = await wired(client)
        found = await client.GetLogStatistics(pb.GetLogStatisticsRequest())
        assert found.head == await client.GetHead(pb.GetHeadRequest())
        assert sum(found.events_of_kind.values()) == found.head.position == await wires.head()
        assert found.events_of_kind["algorithm.version_published.v1"] == 1
        assert found.streams_of_category == {"account": 1, "algorithm": 1, "connection": 1}
        assert found.seals == found.commands == found.head.position
        assert found.first_position == 1
        assert found.covered_to_position >= found.head.position
        assert found.bytes_of_table["events"] > 0
        assert list(found.snapshot_positions) == []


async def test_only_auditors_may_read(registry: Served) -> None:
    async with registry.client("router") as client:
        refused: list[Awaitable[object]] = [
            client.GetAggregate(get(ACCOUNT, str(uuid4()))),
            client.ListAggregates(pb.ListAggregatesRequest(kind=ACCOUNT)),
            client.ReadLog(pb.ReadLogRequest()),
            client.Diff(pb.DiffRequest()),
            client.GetLogStatistics(pb.GetLogStatisticsRequest()),
            client.Revert(pb.RevertRequest()),
        ]
        for call in refused:
            assert (await refusal(call))[0] is StatusCode.PERMISSION_DENIED
