"""Whatever the log tells: a restored catalog answers as the folded one, then and afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from catalog import events, snapshot
from catalog.catalog import Catalog
from catalog.events import ApiType, Event, Grant, Metadata, RecordedEvent
from catalog.identifiers import granted_flow_id
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.test_codec import records
from tests.support.catalog_answers import answers

THINGS = ("one", "two", "three")
TOPICS = ("red", "green")
NAMES = ("anne", "bert")
GRANTED_FLOWS = tuple(
    granted_flow_id(connection_id=one, topic=topic, algorithm_id=other, api_type=api_type)
    for one in THINGS
    for topic in TOPICS
    for other in THINGS
    for api_type in (ApiType.SUBSCRIBER, ApiType.PUBLISHER)
)
IDS = (*THINGS, *GRANTED_FLOWS)
START = datetime(2026, 1, 1, tzinfo=UTC)

ids = st.sampled_from(THINGS)
flow_ids = st.sampled_from((*THINGS, *GRANTED_FLOWS[:8]))
names = st.sampled_from(NAMES)
channels = st.builds(
    events.Channel,
    broker=st.sampled_from(events.BrokerKind),
    connection_id=ids,
    name=st.sampled_from(TOPICS),
    role_arn=st.text(max_size=3),
    credentials=st.none() | records(events.SecretRef),
)
SMALL_WORLD: dict[str, st.SearchStrategy[Any]] = {
    "account_id": ids,
    "algorithm_id": ids,
    "target_algorithm_id": ids,
    "connection_id": ids,
    "owner_id": ids,
    "flow_id": flow_ids,
    "key_id": ids,
    "dead_letter_task_id": ids,
    "username": names,
    "owner_name": names,
    "name": names,
    "topic": st.sampled_from(TOPICS),
    "grants": st.lists(
        st.builds(Grant, algorithm_id=ids, api_type=st.sampled_from(ApiType)), max_size=4
    ).map(tuple),
    "channel": st.none() | channels,
}
"""Few ids, so that the events are about the same things; everything else may be anything."""


def events_of(kind: type) -> st.SearchStrategy[Event]:
    def shrunk(event: Any, drawn: dict[str, Any]) -> Event:
        known = {name: value for name, value in drawn.items() if hasattr(event, name)}
        changed: Event = replace(event, **known)
        return changed

    return st.builds(shrunk, records(kind), st.fixed_dictionaries(SMALL_WORLD))


histories = st.lists(st.one_of(*map(events_of, events.Event.__args__)), max_size=30)


def told(history: Sequence[Event]) -> list[RecordedEvent]:
    """The events in the log; each key that is made is another one."""
    recorded = []
    for position, event in enumerate(history, start=1):
        if isinstance(event, events.ApiKeyCreated):
            event = replace(event, key_sha256=position.to_bytes(32, "big"))
        recorded.append(
            RecordedEvent(
                position=position,
                stream_id="any",
                version=position,
                time=START + timedelta(microseconds=position),
                metadata=Metadata(actor="anybody", command_id=str(position)),
                event=event,
            )
        )
    return recorded


def all_answers(catalog: Catalog) -> dict[str, object]:
    keys = [position.to_bytes(32, "big") for position in range(1, 61)]
    return answers(catalog, ids=IDS, names=NAMES, topics=TOPICS, keys=keys)


@settings(max_examples=80, deadline=None)
@given(histories, histories)
def test_a_restored_catalog_answers_as_the_folded_one_and_goes_on_like_it(
    before: Sequence[Event], after: Sequence[Event]
) -> None:
    recorded = told([*before, *after])
    folded = Catalog()
    for one in recorded[: len(before)]:
        folded.apply(one)
    restored = snapshot.restore(snapshot.dump(folded))
    assert all_answers(restored) == all_answers(folded)
    for one in recorded[len(before) :]:
        folded.apply(one)
        restored.apply(one)
    assert all_answers(restored) == all_answers(folded)


@settings(max_examples=40, deadline=None)
@given(histories, histories)
def test_what_happens_after_the_dump_is_not_in_it(
    before: Sequence[Event], after: Sequence[Event]
) -> None:
    recorded = told([*before, *after])
    catalog = Catalog()
    for one in recorded[: len(before)]:
        catalog.apply(one)
    then = all_answers(catalog)
    parts = snapshot.dump(catalog)
    for one in recorded[len(before) :]:
        catalog.apply(one)
    assert all_answers(snapshot.restore(parts)) == then
