"""What people are told about dead letters, from the index and from a flow's own topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from catalog.events import BrokerKind, Channel, DeadLetterSelection, FlowEnabled, FlowKind
from catalog.records import Flow
from eventflows.events.v1 import events_pb2
from eventflows.router.v1 import router_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from kernel.errors import InvalidInput, NotFound, StateForbids, Unavailable
from router.adapters.internal_topics import MESSAGE_BYTES_MAX
from router.adapters.memory_letter_index import MemoryLetterIndex
from router.adapters.memory_letter_topic import MemoryLetterTopic
from router.application import dead_letter_desk
from router.application.dead_letter_desk import DeadLetterDesk
from router.application.dead_letter_reader import ReaderStatus
from router.application.own_topics import OwnTopics
from router.application.task_figures import TaskTotals
from router.dead_letter_ports import LetterFigures, LetterTopic, ReadPosition
from router.domain.dead_letter_mark import fold
from router.domain.dead_letter_query import LetterQuery
from router.domain.dead_letter_record import LetterId, LetterState, letter_of
from router.domain.delivery import Delivery
from router.domain.outcome import OutcomeKind
from router.entrypoints import dead_letter_rpc
from router.entrypoints.dead_letter_metrics import dead_letter_metrics, task_metrics
from router.entrypoints.rpc import RouterRpc
from servicekit.rpc import RECORD_ANSWER_BYTES_MAX

from tests.support.letters import START, letter_headers
from tests.support.router_flows import SUBSCRIBER, delivery

OWN = "rejects"


def flow(flow_id: str, **settings: FlowEnabled) -> Flow:
    """One on a topic of a customer's connection."""
    channel = Channel(broker=BrokerKind.KAFKA, connection_id="c-1", name="topic")
    return Flow(
        flow_id=flow_id,
        kind=FlowKind.SUBSCRIBER,
        owner_id="o-1",
        algorithm_id="a-1",
        channel=channel,
        **settings,  # type: ignore[arg-type]
    )


NOW = Timestamp(seconds=9)


class Desk:
    """An internal topic with its index, a flow with a topic of its own, and the servicer."""

    def __init__(self) -> None:
        self.topic, self.index, self.own = (
            MemoryLetterTopic(),
            MemoryLetterIndex(),
            MemoryLetterTopic(name=OWN),
        )
        settings = FlowEnabled(flow_id="", dead_letter_topic=OWN)
        self.flows = {
            "flow-1": flow("flow-1", settings=settings, last_settings=settings),
            "flow-2": flow("flow-2"),
            "flow-3": flow("flow-3", last_settings=settings),
        }
        self.catalog: Any = SimpleNamespace(flow=self.flows.get)
        self.opened: list[tuple[str, str]] = []
        desk = DeadLetterDesk(
            index=self.index,
            topic=self.topic,
            topic_name="dead-letters",
            own_topics=OwnTopics(self, self.open_topic),
        )
        self.desk = desk
        self.rpc = RouterRpc(
            connections=None,  # type: ignore[arg-type]
            flow_status=None,  # type: ignore[arg-type]
            dead_letters=desk,
        )

    async def changes(self) -> AsyncGenerator[int, None]:
        yield 0

    def open_topic(self, connection_id: str, name: str) -> LetterTopic:
        self.opened.append((connection_id, name))
        return self.own

    async def letters(self, count: int, *, value: bytes = b"value", **original: Any) -> None:
        """Letters in the internal topic, one a second, and in the index."""
        for number in range(count):
            at = START + timedelta(seconds=number)
            headers = letter_headers(delivery(number, **original), at=at)
            self.topic.append(0, headers, value=value, at_ms=int(at.timestamp() * 1_000))
        expected = (await self.index.positions()).get(0)
        now = ReadPosition(next_offset=count, last_ms=1)
        await self.index.fold(0, fold(self.topic.log[0]), expected=expected, now=now)

    async def list(self, **request: Any) -> pb.ListDeadLettersResponse:
        return await self.rpc.ListDeadLetters(pb.ListDeadLettersRequest(**request), None)


async def test_pages_come_newest_first_and_end() -> None:
    desk = Desk()
    await desk.letters(5)
    pages, token = [], ""
    while True:
        answer = await desk.list(page_size=2, page_token=token)
        pages.append([letter.offset for letter in answer.letters])
        token = answer.next_page_token
        if not token:
            break
    assert pages == [[4, 3], [2, 1], [0]]


async def test_an_answer_is_bounded_by_bytes_and_goes_on_where_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dead_letter_rpc, "ANSWER_BYTES_MAX", 600)
    desk = Desk()
    await desk.letters(5)
    shown: list[int] = []
    answer = await desk.list()
    while answer.next_page_token:
        shown += [letter.offset for letter in answer.letters]
        answer = await desk.list(page_token=answer.next_page_token)
    shown += [letter.offset for letter in answer.letters]
    assert shown == [4, 3, 2, 1, 0]


async def test_a_selection_is_read_as_the_log_writes_it() -> None:
    desk = Desk()
    await desk.letters(5)
    selection = events_pb2.DeadLetterSelection(offset_first=1, offset_last=2)
    selection.since.FromDatetime((START + timedelta(seconds=2)).replace(tzinfo=None))
    assert [one.offset for one in (await desk.list(selection=selection)).letters] == [2]
    request = pb.CountDeadLettersRequest(selection=selection)
    assert (await desk.rpc.CountDeadLetters(request, None)).letters == 1


@pytest.mark.parametrize(
    "request_fields",
    [
        {"page_size": 501},
        {"page_size": -1},
        {"page_token": "AAAA"},
        {"page_token": "x" * 1_000},
        {"state": 77},
        {"flow_id": "f" * 1_000},
        {"selection": events_pb2.DeadLetterSelection(letter_ids=["x"])},
        {"selection": events_pb2.DeadLetterSelection(letter_ids=["1-1"] * 1_001)},
        {"selection": events_pb2.DeadLetterSelection(offset_first=5, offset_last=2)},
        {"selection": events_pb2.DeadLetterSelection(topic="a\0b")},
        {"selection": events_pb2.DeadLetterSelection(since=NOW, until=NOW)},
    ],
)
async def test_what_cannot_be_meant_is_refused(request_fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        await Desk().list(**request_fields)


async def test_a_letter_is_shown_whole() -> None:
    desk = Desk()
    own = (("mine", b"1"), ("ef-dl-flow", b"brought"))
    await desk.letters(1, value=b"\x00\xff", headers=own)
    answer = await desk.rpc.GetDeadLetter(pb.GetDeadLetterRequest(letter_id="0-0"), None)
    assert (answer.value, answer.has_value, answer.truncated) == (b"\x00\xff", True, False)
    assert [(header.name, header.value) for header in answer.headers] == list(own)
    assert [(one.outcome, one.error) for one in answer.history] == [("algorithm_error", "bad")]
    assert (answer.letter.flow_id, answer.letter.letter_topic) == ("flow-1", "dead-letters")


async def test_of_a_large_letter_the_beginning_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_rpc, "VALUE_BYTES_MAX", 3)
    desk = Desk()
    await desk.letters(1)
    answer = await desk.rpc.GetDeadLetter(pb.GetDeadLetterRequest(letter_id="0-0"), None)
    assert (answer.value, answer.truncated, answer.letter.value_bytes) == (b"val", True, 5)


async def test_the_largest_record_is_shown_to_its_end() -> None:
    value = bytes(MESSAGE_BYTES_MAX)
    desk = Desk()
    await desk.letters(1, value=value)
    answer = await desk.rpc.GetDeadLetter(pb.GetDeadLetterRequest(letter_id="0-0"), None)
    assert (len(answer.value), answer.truncated) == (len(value), False)
    assert answer.ByteSize() < RECORD_ANSWER_BYTES_MAX


@pytest.mark.parametrize("letter_id", ["0-9", "1-0"])
async def test_a_letter_that_is_not_there_is_not_found(letter_id: str) -> None:
    desk = Desk()
    await desk.letters(1)
    with pytest.raises(NotFound):
        await desk.rpc.GetDeadLetter(pb.GetDeadLetterRequest(letter_id=letter_id), None)


async def test_a_letter_whose_topic_keeps_it_no_longer_is_not_found() -> None:
    desk = Desk()
    await desk.letters(2)
    desk.topic.expire(0, 1)
    with pytest.raises(NotFound):
        await desk.desk.whole(LetterId(partition=0, offset=0))


async def test_without_a_database_it_is_said_what_to_set() -> None:
    rpc = RouterRpc(connections=None, flow_status=None)  # type: ignore[arg-type]
    questions: list[tuple[Any, Any]] = [
        (rpc.ListDeadLetters, pb.ListDeadLettersRequest()),
        (rpc.CountDeadLetters, pb.CountDeadLettersRequest()),
        (rpc.GetDeadLetter, pb.GetDeadLetterRequest(letter_id="0-0")),
        (rpc.GetDeadLetterTask, pb.GetDeadLetterTaskRequest()),
    ]
    for ask, request in questions:
        with pytest.raises(StateForbids, match="DEAD_LETTER_DSN_FILE"):
            await ask(request, None)


async def test_an_own_topic_shows_the_flows_letters_among_anything_else() -> None:
    desk = Desk()
    desk.own.append(0, (("foreign", b"1"),))
    other = letter_headers(delivery(7))
    desk.own.append(1, tuple((n, b"other" if n == "ef-dl-flow" else v) for n, v in other))
    mine = [desk.own.append(1, letter_headers(delivery(number))) for number in range(3)]
    answer = await desk.list(flow_id="flow-1", own_topic=True, page_size=2)
    assert [letter.letter_id for letter in answer.letters] == [str(mine[2]), str(mine[1])]
    assert (answer.letters[0].letter_topic, answer.truncated) == (OWN, False)
    rest = await desk.list(
        flow_id="flow-1", own_topic=True, page_size=2, page_token=answer.next_page_token
    )
    assert [letter.letter_id for letter in rest.letters] == [str(mine[0])]
    assert desk.opened == [("c-1", OWN)] * 2
    request = pb.GetDeadLetterRequest(letter_id="1-0", flow_id="flow-1", own_topic=True)
    with pytest.raises(NotFound):
        await desk.rpc.GetDeadLetter(request, None)


async def own_letters_of_three_states(desk: Desk) -> None:
    """Two open ones, one that was redriven, one that died again."""
    topic, marks = desk.own, MemoryLetterTopic()
    ids = [topic.append(0, letter_headers(delivery(number))) for number in range(4)]
    for letter_id, state in zip(ids, (LetterState.REDRIVEN, LetterState.DIED_AGAIN), strict=False):
        record = await topic.read(letter_id)
        assert record is not None
        await marks.write_own(letter_of(record), state, topic=OWN, task_id="task-1")
    for number, records in enumerate(marks.log):
        now = ReadPosition(next_offset=1, last_ms=1)
        await desk.index.fold(number, fold(records), expected=None, now=now)


async def test_what_was_redriven_of_an_own_topic_is_told_from_what_is_open() -> None:
    desk = Desk()
    await own_letters_of_three_states(desk)
    still_open = await desk.list(flow_id="flow-1", own_topic=True)
    assert sorted(letter.offset for letter in still_open.letters) == [2, 3]
    redriven = await desk.list(
        flow_id="flow-1", own_topic=True, state=pb.DEAD_LETTER_STATE_REDRIVEN
    )
    assert sorted(letter.offset for letter in redriven.letters) == [0, 1]
    assert {letter.dead_letter_task_id for letter in redriven.letters} == {"task-1"}
    request = pb.GetDeadLetterRequest(letter_id="0-0", flow_id="flow-1", own_topic=True)
    whole = await desk.rpc.GetDeadLetter(request, None)
    assert whole.letter.state == pb.DEAD_LETTER_STATE_REDRIVEN


async def test_a_dry_run_counts_the_open_letters_of_an_own_topic_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    await own_letters_of_three_states(desk)
    request = pb.CountDeadLettersRequest(flow_id="flow-1", own_topic=True)
    counted = await desk.rpc.CountDeadLetters(request, None)
    assert (counted.letters, counted.truncated) == (2, False)
    request.selection.offset_last = 2
    assert (await desk.rpc.CountDeadLetters(request, None)).letters == 1
    monkeypatch.setattr(dead_letter_desk, "SCAN_RECORDS_MAX", 1)
    assert (await desk.rpc.CountDeadLetters(request, None)).truncated is True


async def test_a_flow_that_is_disabled_shows_the_topic_that_it_had_last() -> None:
    desk = Desk()
    headers = letter_headers(delivery(1), spec=replace(SUBSCRIBER, flow_id="flow-3"))
    desk.own.append(0, headers)
    assert len((await desk.list(flow_id="flow-3", own_topic=True)).letters) == 1


def history(attempt: str, at: str, *, error: str = "") -> bytes:
    """As JSON that nobody of ours wrote."""
    line = f'{{"attempt": {attempt}, "at": "{at}", "outcome": "", "error": "{error}"}}'
    return f"[{line}]".encode()


@pytest.mark.parametrize(
    "change",
    [
        {"ef-dl-last-at": b"0001-01-01T00:00:00+23:00"},
        {"ef-dl-first-at": b"0001-01-01T00:00:00+00:00"},
        {"ef-dl-timestamp-ms": b"9" * 18},
        {"ef-dl-timestamp-ms": b"-" + b"9" * 18},
        {"ef-dl-attempts": b"9" * 600},
        {"ef-dl-history": history("Infinity", "2026-11-30")},
        {"ef-dl-history": history("1e99", "2026-11-30")},
        {"ef-dl-history": history("1", "0001-01-01T00:00:00+23:00")},
        {"ef-dl-history": history("1", "2026-11-30", error="\\ud800")},
        {"ef-dl-history": b"[" * 16_000},
    ],
)
async def test_whatever_stands_in_an_own_topic_its_good_letters_are_shown(
    change: dict[str, bytes],
) -> None:
    desk = Desk()
    good = dict(letter_headers(delivery(1)))
    strange = desk.own.append(0, tuple((good | change).items()))
    mine = desk.own.append(0, tuple(good.items()))
    listed = await desk.list(flow_id="flow-1", own_topic=True)
    assert str(mine) in [letter.letter_id for letter in listed.letters]
    request = pb.GetDeadLetterRequest(letter_id=str(strange), flow_id="flow-1", own_topic=True)
    with suppress(NotFound):
        await desk.rpc.GetDeadLetter(request, None)


@pytest.mark.parametrize(("limit", "value"), [("SCAN_RECORDS_MAX", 4), ("SCAN_BYTES_MAX", 100)])
async def test_a_scan_ends_at_its_limit_with_the_newest(
    limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_desk, limit, value)
    desk = Desk()
    for number in range(20):
        desk.own.append(0, letter_headers(delivery(number)))
    page = await desk.desk.own_page(LetterQuery(flow_id="flow-1"), below=None, letters_max=50)
    assert page.truncated
    assert page.letters[0].source_offset == 19
    assert len(page.letters) < 20


class SilentTopic(MemoryLetterTopic):
    """Of a cluster that takes the connection and then says nothing."""

    async def backwards(self) -> AsyncGenerator[Sequence[Delivery], None]:
        await asyncio.Event().wait()
        yield []


async def test_a_cluster_that_says_nothing_is_told_and_is_no_empty_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dead_letter_desk, "SCAN_TIME_MAX_S", 0.01)
    desk = Desk()
    desk.own = SilentTopic()
    with pytest.raises(Unavailable, match="handed out nothing"):
        await desk.list(flow_id="flow-1", own_topic=True)


@pytest.mark.parametrize(
    ("flow_id", "error"), [("", InvalidInput), ("flow-2", StateForbids), ("flow-9", NotFound)]
)
async def test_an_own_topic_that_is_not_there_is_said(flow_id: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await Desk().list(flow_id=flow_id, own_topic=True)


def test_the_index_tells_its_metrics_and_leaves_out_what_it_does_not_know() -> None:
    unknown = {metric.name for metric in dead_letter_metrics(ReaderStatus())}
    assert unknown == {"router_dead_letters_unreadable", "router_dead_letter_index_rebuilds"}
    figures = LetterFigures(open_letters=3, oldest_open=START, by_flow={"flow-1": 2})
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in dead_letter_metrics(ReaderStatus(lag_records=5, figures=figures))
        for sample in metric.samples
    }
    assert told["router_dead_letter_index_lag_records",] == 5
    assert told["router_dead_letters_open",] == 3
    assert told["router_flow_dead_letters_open", "flow-1"] == 2
    assert told["router_dead_letters_oldest_open_timestamp_seconds",] == START.timestamp()


def test_both_ends_of_a_time_are_the_narrower_ones() -> None:
    query = LetterQuery(
        selection=DeadLetterSelection(until=START + timedelta(hours=1)), given_up_before=START
    )
    assert query.until == START


def test_what_tasks_do_is_told_with_every_label_from_the_start() -> None:
    nothing = [sample for metric in task_metrics(TaskTotals()) for sample in metric.samples]
    assert len(nothing) == 2 + len(OutcomeKind) + 1 + 3
    assert {sample.value for sample in nothing} == {0}
    totals = TaskTotals(
        attempts={OutcomeKind.SUCCEEDED: 5},
        letters={LetterState.REDRIVEN: 5, LetterState.PURGED: 2},
        in_flight=3,
        tasks={"working": 1},
    )
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in task_metrics(totals)
        for sample in metric.samples
    }
    assert told["router_redrive_attempts_total", "succeeded"] == 5
    assert told["router_dead_letters_settled_total", "purged"] == 2
    assert told["router_redrive_in_flight",] == 3
    assert told["router_dead_letter_tasks", "working"] == 1
