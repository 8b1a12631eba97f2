"""`Watch` of some kinds or streams: only their events, every position covered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import grpc
import pytest
from catalog.kinds import KIND_OF_EVENT, AggregateKind
from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.ports.event_store import SELECTED_STREAMS_MAX

from tests.support.long_log import fill
from tests.support.registry import (
    Database,
    Served,
    account_request,
    connection_request,
    refusal,
    served,
)

TIMEOUT_S = 60.0
EVENTS = 40_000
TOPICS = 500
CATEGORIES = {kind.__name__: category.name.lower() for kind, category in KIND_OF_EVENT.items()}


def category_of(event: events_pb2.RecordedEvent) -> str:
    which = event.event.WhichOneof("kind")
    assert which is not None
    return CATEGORIES[getattr(event.event, which).DESCRIPTOR.name]


class Selecting:
    """Reads a stream, checks that its ranges follow each other, keeps what came."""

    def __init__(self, batches: Any, selected: Callable[[events_pb2.RecordedEvent], bool]) -> None:
        self._batches = aiter(batches)
        self._selected = selected
        self.position = 0
        self.batches = 0
        self.events: list[events_pb2.RecordedEvent] = []

    async def reach(self, position: int) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while self.position < position:
                batch: pb.WatchBatch = await anext(self._batches)
                assert batch.from_position == self.position
                assert batch.to_position <= batch.head_position
                positions = [event.position for event in batch.events]
                assert positions == sorted(set(positions))
                assert all(batch.from_position < one <= batch.to_position for one in positions)
                assert all(self._selected(event) for event in batch.events)
                self.position = batch.to_position
                self.events += batch.events
                self.batches += batch.from_position < batch.to_position


async def test_a_rare_kind_is_found_in_few_batches_and_goes_on_live(
    database: Database, tmp_path: Any
) -> None:
    async with PostgresEventStore(database.log_dsn) as store:
        await fill(store, EVENTS, topics=TOPICS)
    async with served(database, tmp_path) as registry, registry.client() as client:
        watched = Selecting(
            client.Watch(pb.WatchRequest(kinds=[catalog_pb2.AGGREGATE_KIND_CONNECTION])),
            lambda event: category_of(event) == "connection",
        )
        await watched.reach(EVENTS)
        assert len(watched.events) == 10
        assert watched.batches <= 3, "pages of what is not selected were not sent"
        await client.CreateAccount(account_request("somebody"))
        await watched.reach(EVENTS + 1)
        assert len(watched.events) == 10
        await client.CreateConnection(connection_request(name="live"))
        await watched.reach(EVENTS + 2)
        assert watched.events[-1].event.connection_created.name == "live"


async def test_selections_together_are_the_log(database: Database, tmp_path: Any) -> None:
    async with PostgresEventStore(database.log_dsn) as store:
        await fill(store, EVENTS, topics=TOPICS)
        account = (await store.read(0, limit=1))[0].stream_id
        changed = next(
            one.stream_id for one in await store.read(EVENTS - 50, limit=50)
            if one.category == "flow"
        )  # fmt: skip
        stream = await store.read_stream(changed)
    async with served(database, tmp_path) as registry, registry.client() as client:

        async def watched(selected: Any, **filters: Any) -> list[int]:
            reader = Selecting(client.Watch(pb.WatchRequest(**filters)), selected)
            await reader.reach(EVENTS)
            return [event.position for event in reader.events]

        kinds = [AggregateKind.FLOW, AggregateKind.TOPIC_ACCESS]
        many = await watched(
            lambda event: category_of(event) in ("flow", "topic_access"), kinds=kinds
        )
        rest = await watched(
            lambda event: category_of(event) not in ("flow", "topic_access"),
            kinds=[one for one in AggregateKind if one and one not in kinds],
        )
        assert sorted(many + rest) == list(range(1, EVENTS + 1))
        one = await watched(lambda event: event.stream_id == changed, stream_ids=[changed])
        assert one == [event.position for event in stream]
        both = await watched(
            lambda event: event.stream_id in (changed, account),
            stream_ids=[changed.upper(), account, str(uuid4())],
        )
        assert both == [1, *one]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (pb.WatchRequest(stream_ids=["a"]), "must be a uuid"),
        (pb.WatchRequest(kinds=[catalog_pb2.AGGREGATE_KIND_UNSPECIFIED]), "no kind of aggregate"),
        (pb.WatchRequest(kinds=[77]), "no kind of aggregate"),  # type: ignore[list-item]
        (
            pb.WatchRequest(stream_ids=[str(uuid4()) for _ in range(SELECTED_STREAMS_MAX + 1)]),
            "at most 100",
        ),
    ],
)
async def test_a_selection_that_cannot_be_is_refused_with_what_to_do(
    registry: Served, request_: pb.WatchRequest, says: str
) -> None:
    async with registry.client() as client:
        with pytest.raises(grpc.aio.AioRpcError, match=says) as caught:
            await anext(aiter(client.Watch(request_)))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_selection_keeps_the_rules_of_positions(registry: Served) -> None:
    async with registry.client() as client:
        request = pb.WatchRequest(after_position=7, kinds=[catalog_pb2.AGGREGATE_KIND_FLOW])
        status, _ = await refusal(anext(aiter(client.Watch(request))))
        assert status is grpc.StatusCode.FAILED_PRECONDITION
