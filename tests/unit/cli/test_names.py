"""Names of things: asked for once, and never a reason to fail."""

from __future__ import annotations

from typing import Any, cast

import pytest
from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows_cli.calls import Calls
from eventflows_cli.kinds import Kind
from eventflows_cli.names import Names
from kernel.errors import EventflowsError, Overloaded, StateForbids, Unavailable

from tests.unit.cli.documents import recorded

ACME = catalog_pb2.Account(account_id="a-1", username="acme")
PLANT = catalog_pb2.Connection(connection_id="c-1", name="plant")
DIGITS = catalog_pb2.Algorithm(algorithm_id="al-1", owner_name="acme", name="digits")
WORDS = catalog_pb2.Algorithm(algorithm_id="al-2", owner_name="acme", name="words")
IMAGES = events_pb2.Channel(connection_id="c-1", name="images")


class ScriptedCalls:
    """Knows some aggregates and some first events; counts what is asked."""

    def __init__(self, *events: events_pb2.RecordedEvent, **aggregates: catalog_pb2.Aggregate):
        self.stub = self
        self.GetAggregate = "GetAggregate"
        self.ReadLog = "ReadLog"
        self.asked: list[str] = []
        self.failure: EventflowsError | None = None
        self._events = events
        self._aggregates = {
            id_.replace("_", "-"): aggregate for id_, aggregate in aggregates.items()
        }

    async def ask(self, method: str, request: Any) -> Any:
        if self.failure is not None:
            raise self.failure
        if method == "GetAggregate":
            self.asked.append(request.id)
            return pb.GetAggregateResponse(aggregate=self._aggregates.get(request.id))
        found = [event for event in self._events if event.stream_id in request.stream_ids]
        return pb.ReadLogResponse(events=found[: request.limit])


def known(**more: catalog_pb2.Aggregate) -> ScriptedCalls:
    return ScriptedCalls(
        a_1=catalog_pb2.Aggregate(account=ACME),
        c_1=catalog_pb2.Aggregate(connection=PLANT),
        al_1=catalog_pb2.Aggregate(algorithm=DIGITS),
        al_2=catalog_pb2.Aggregate(algorithm=WORDS),
        **more,
    )


def names_of(calls: ScriptedCalls) -> Names:
    return Names(cast(Calls, calls))


@pytest.mark.parametrize(
    ("aggregate", "name"),
    [
        (catalog_pb2.Aggregate(account=ACME), "acme"),
        (catalog_pb2.Aggregate(algorithm=DIGITS), "acme/digits"),
        (catalog_pb2.Aggregate(connection=PLANT), "plant"),
        (
            catalog_pb2.Aggregate(
                topic_access=catalog_pb2.TopicAccess(connection_id="c-1", topic="images")
            ),
            "images on plant",
        ),
        (
            catalog_pb2.Aggregate(
                flow=catalog_pb2.Flow(
                    kind=events_pb2.FLOW_KIND_SUBSCRIBER, algorithm_id="al-1", channel=IMAGES
                )
            ),
            "acme/digits ← images on plant",
        ),
        (
            catalog_pb2.Aggregate(
                flow=catalog_pb2.Flow(
                    kind=events_pb2.FLOW_KIND_PUBLISHER, algorithm_id="al-1", channel=IMAGES
                )
            ),
            "acme/digits → images on plant",
        ),
        (
            catalog_pb2.Aggregate(
                flow=catalog_pb2.Flow(
                    kind=events_pb2.FLOW_KIND_CHAIN, algorithm_id="al-1", target_algorithm_id="al-2"
                )
            ),
            "acme/digits → acme/words",
        ),
        (
            catalog_pb2.Aggregate(
                flow=catalog_pb2.Flow(
                    kind=events_pb2.FLOW_KIND_SUBSCRIBER,
                    algorithm_id="al-1",
                    channel=events_pb2.Channel(name="https://sqs.example.test/1/orders"),
                )
            ),
            "acme/digits ← https://sqs.example.test/1/orders",
        ),
    ],
)
async def test_things_have_the_names_that_people_know(
    aggregate: catalog_pb2.Aggregate, name: str
) -> None:
    assert await names_of(known()).of_aggregate(aggregate) == name


async def test_each_id_is_asked_for_once() -> None:
    calls = known()
    names = names_of(calls)
    for _ in range(3):
        assert await names.of(Kind.CONNECTION, "c-1") == "plant"
    assert calls.asked == ["c-1"]


async def test_services_are_their_own_names() -> None:
    calls = known()
    assert await names_of(calls).of_actor("service:operator") == "service:operator"
    assert await names_of(calls).of_actor("") == ""
    assert await names_of(calls).of_actor("a-1") == "acme"
    assert calls.asked == ["a-1"]


async def test_what_passes_by_is_learned_without_asking() -> None:
    calls = known()
    names = names_of(calls)
    created = events_pb2.Event(
        connection_created=events_pb2.ConnectionCreated(connection_id="c-9", name="south")
    )
    await names.learn([recorded(1, created, stream_id="c-9")])
    assert await names.of(Kind.CONNECTION, "c-9") == "south"
    assert calls.asked == ["a-1"]


async def test_what_is_gone_has_the_name_of_its_first_event() -> None:
    created = events_pb2.Event(
        connection_created=events_pb2.ConnectionCreated(connection_id="c-9", name="south")
    )
    listener = events_pb2.Event(
        flow_created=events_pb2.FlowCreated(flow_id="f-9", channel=events_pb2.Channel(name="q"))
    )
    calls = ScriptedCalls(
        recorded(1, created, stream_id="c-9"), recorded(2, listener, stream_id="f-9")
    )
    assert await names_of(calls).of(Kind.CONNECTION, "c-9") == "south"
    assert await names_of(calls).of(Kind.FLOW, "f-9") == "q"
    assert await names_of(calls).of(Kind.FLOW, "f-10") == "f-10"


@pytest.mark.parametrize(
    "failure", [Unavailable("away"), Overloaded("busy", retry_after_s=1), StateForbids("archived")]
)
async def test_without_a_name_the_id_must_do(failure: EventflowsError) -> None:
    calls = known()
    calls.failure = failure
    assert await names_of(calls).of(Kind.CONNECTION, "c-1") == "c-1"


async def test_a_name_that_was_missed_while_the_registry_was_away_is_asked_for_again() -> None:
    calls = known()
    names = names_of(calls)
    calls.failure = Unavailable("away")
    assert await names.of(Kind.CONNECTION, "c-1") == "c-1"
    calls.failure = None
    assert await names.of(Kind.CONNECTION, "c-1") == "plant"
