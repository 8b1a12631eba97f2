"""What every target promises, asked of memory, of a runner over HTTP and of two Kafkas."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from devstack import Kafka
from router.adapters import kafka_writer
from router.adapters.algorithm_target import runner_pool
from router.adapters.kafka_producers import KafkaProducers
from router.adapters.kafka_target import KafkaTarget
from router.adapters.memory_target import MemoryTarget
from router.domain.delivery import Headers, Run
from router.domain.flow_spec import KafkaTargetSpec
from router.domain.outcome import SUCCEEDED, OutcomeKind
from router.ports import Target

from tests.support.kafka_clients import admin, consuming
from tests.support.router_flows import COMPLETION, PUBLISHER, SUBSCRIBER, delivery, with_header
from tests.support.router_runner import Asked, algorithm_target, running_runner
from tests.support.router_sources import connection_of, kafka_topic

NOBODY = "127.0.0.1:1"
BODY_BYTES_MAX = 64 * 1024
CUSTOMERS_RECORD_BYTES_MAX = 1_048_588
OUR_RECORD_BYTES_MAX = 25 * 1024 * 1024
"""Kafka's own `message.max.bytes`."""
SEND_TIMEOUT_S = 3.0
"""Kafka's clients look for a topic that is gone until their time is up."""
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What the other side got, in the words of no protocol."""

    key: bytes | None
    value: bytes | None
    content_type: str
    request_id: str
    hops: str
    traceparent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A target, another one whose other side was never there, and what arrived.

    `vanish` takes the other side away for good. A null value arrives as one of `nulls`: with a key
    as the first, without one as the second.
    """

    target: Target
    away: Target
    arrived: Callable[[], Awaitable[list[Arrival]]]
    vanish: Callable[[], Awaitable[None]]
    too_large_bytes: int
    nulls: tuple[bytes | None, bytes | None] = (None, b"")

    async def values(self) -> list[bytes | None]:
        return [arrival.value for arrival in await self.arrived()]


@pytest.fixture(params=["memory", "algorithm", "kafka", "customer_kafka"])
def open_subject(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], "AsyncIterator[Subject]"]:
    """Opens a target of one kind."""
    monkeypatch.setattr(kafka_writer, "SEND_TIMEOUT_S", SEND_TIMEOUT_S)
    if request.param == "memory":
        return _memory
    if request.param == "algorithm":
        return _algorithm
    kafka = request.getfixturevalue(request.param)
    limit_bytes = OUR_RECORD_BYTES_MAX if request.param == "kafka" else CUSTOMERS_RECORD_BYTES_MAX
    return lambda: _kafka(kafka, too_large_bytes=limit_bytes + 1)


@pytest_asyncio.fixture(loop_scope="session")
async def subject(
    open_subject: Callable[[], AsyncIterator[Subject]],
) -> AsyncIterator[Subject]:
    async with asynccontextmanager(open_subject)() as opened:
        yield opened


async def _memory() -> AsyncIterator[Subject]:
    target, away = MemoryTarget(record_bytes_max=BODY_BYTES_MAX), MemoryTarget()
    away.reachable = False

    async def arrived() -> list[Arrival]:
        return [_published(each.key, each.value, each.headers) for each in target.records]

    async def vanish() -> None:
        target.reachable = False

    yield Subject(
        target=target,
        away=away,
        arrived=arrived,
        vanish=vanish,
        too_large_bytes=BODY_BYTES_MAX + 1,
        nulls=(None, None),
    )


async def _algorithm() -> AsyncIterator[Subject]:
    async with AsyncExitStack() as pools, AsyncExitStack() as serving:
        runner = await serving.enter_async_context(running_runner(body_bytes_max=BODY_BYTES_MAX))

        async def arrived() -> list[Arrival]:
            return [_asked(asked) for asked in runner.asked]

        async def target(url: str) -> Target:
            pool = await pools.enter_async_context(runner_pool(url))
            return algorithm_target(SUBSCRIBER, pool)

        yield Subject(
            target=await target(runner.url),
            away=await target(f"http://{NOBODY}"),
            arrived=arrived,
            vanish=serving.aclose,
            too_large_bytes=BODY_BYTES_MAX + 1,
            nulls=(b"null", b"null"),
        )


async def _kafka(kafka: Kafka, *, too_large_bytes: int) -> AsyncIterator[Subject]:
    producers = KafkaProducers()
    async with kafka_topic(kafka) as topic:
        spec = replace(PUBLISHER, target=KafkaTargetSpec(connection_id="c-1", topic=topic.name))
        nowhere = connection_of(kafka, bootstrap_servers=(NOBODY,))
        target = KafkaTarget(spec, connection=topic.connection, producers=producers)
        away = KafkaTarget(spec, connection=nowhere, producers=producers)

        async def arrived() -> list[Arrival]:
            return await _records(kafka, topic.name)

        async def vanish() -> None:
            async with admin(kafka) as client:
                await client.delete_topics([topic.name])

        yield Subject(
            target=target,
            away=away,
            arrived=arrived,
            vanish=vanish,
            too_large_bytes=too_large_bytes,
        )
        await target.close()
        await away.close()
        await producers.close()


async def _records(kafka: Kafka, topic: str) -> list[Arrival]:
    """Everything that the topic holds now."""
    partition = TopicPartition(topic, 0)
    async with consuming(kafka) as consumer:
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        consumer.seek(partition, 0)
        arrivals: list[Arrival] = []
        while len(arrivals) < end:
            record: Any = await consumer.getone()
            arrivals.append(_published(record.key, record.value, record.headers))
        return arrivals


def _published(
    key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
) -> Arrival:
    texts = {name: content.decode() for name, content in headers}
    return Arrival(
        key=key,
        value=value,
        content_type=texts["content-type"],
        request_id=texts["ef-request-id"],
        hops=texts["ef-hops"],
        traceparent=texts["traceparent"],
    )


def _asked(asked: Asked) -> Arrival:
    key = asked.headers.get("X-Eventflows-Record-Key")
    return Arrival(
        key=None if key is None else b64decode(key),
        value=asked.body,
        content_type=asked.headers["Content-Type"],
        request_id=asked.headers["X-Eventflows-Request-Id"],
        hops=asked.headers["X-Eventflows-Hops"],
        traceparent=asked.headers["traceparent"],
    )


def run(
    value: bytes | None, *, key: bytes | None = b"k", headers: Headers = COMPLETION, hops: int = 1
) -> Run:
    record = delivery(key=key, value=value, headers=headers)
    return Run(
        delivery=record,
        request_id="req-1",
        attempt=1,
        hops=hops,
        traceparent=TRACEPARENT,
        named=dict(headers),
    )


async def test_a_success_has_had_its_effect_with_the_records_own_bytes(subject: Subject) -> None:
    assert await subject.target.invoke(run(b'{"x": 1}')) == SUCCEEDED
    assert await subject.values() == [b'{"x": 1}']


@pytest.mark.parametrize(
    ("word", "content_type", "value"),
    [
        (b"json", "application/json", b"[1]"),
        (b"text", "text/plain", b"[1]"),
        (b"binary", "application/octet-stream", b"\x00\xff"),
    ],
)
async def test_key_content_type_and_headers_are_carried(
    subject: Subject, word: bytes, content_type: str, value: bytes
) -> None:
    headers = with_header(COMPLETION, "ef-content-type", word)
    sent = run(value, key=b"\x00key\xff", headers=headers, hops=5)
    assert await subject.target.invoke(sent) == SUCCEEDED
    (arrival,) = await subject.arrived()
    assert arrival == Arrival(
        key=b"\x00key\xff",
        value=value,
        content_type=content_type,
        request_id="req-1",
        hops="5",
        traceparent=TRACEPARENT,
    )


@pytest.mark.parametrize("key", [b"k", b"", None])
async def test_a_null_value_passes_with_and_without_a_key(
    subject: Subject, key: bytes | None
) -> None:
    assert await subject.target.invoke(run(None, key=key)) == SUCCEEDED
    (arrival,) = await subject.arrived()
    assert (arrival.key, arrival.value) == (key, subject.nulls[key is None])


async def test_a_null_key_stays_null(subject: Subject) -> None:
    assert await subject.target.invoke(run(b"1", key=None)) == SUCCEEDED
    (arrival,) = await subject.arrived()
    assert (arrival.key, arrival.value) == (None, b"1")


async def test_a_record_too_large_is_refused_and_the_next_one_succeeds(subject: Subject) -> None:
    assert await subject.target.invoke(run(b"1")) == SUCCEEDED
    refused = await subject.target.invoke(run(bytes(subject.too_large_bytes)))
    assert (refused.kind, refused.word) == (OutcomeKind.REFUSED, "record_too_large")
    assert refused.error
    assert await subject.target.invoke(run(b"2")) == SUCCEEDED
    assert await subject.values() == [b"1", b"2"]


async def test_a_large_record_that_is_allowed_passes_whole(subject: Subject) -> None:
    value = bytes(subject.too_large_bytes // 2)
    assert await subject.target.invoke(run(value)) == SUCCEEDED
    assert await subject.values() == [value]


async def test_a_refusal_of_one_record_loses_none_that_is_sent_at_the_same_time(
    subject: Subject,
) -> None:
    """What goes down with it is told, and succeeds when it is tried again."""
    values = [b"1", bytes(subject.too_large_bytes), b"2"]
    sent = [run(value, key=b"%d" % at) for at, value in enumerate(values)]
    before, refused, behind = await asyncio.gather(*map(subject.target.invoke, sent))
    assert (refused.kind, refused.word) == (OutcomeKind.REFUSED, "record_too_large")
    for again, outcome in ((sent[0], before), (sent[2], behind)):
        if outcome != SUCCEEDED:
            assert outcome.kind in (OutcomeKind.NO_ANSWER, OutcomeKind.UNREACHABLE)
            assert await subject.target.invoke(again) == SUCCEEDED
    assert {b"1", b"2"} <= set(await subject.values())


async def test_an_empty_value_and_an_empty_key_are_no_nulls_to_a_topic(subject: Subject) -> None:
    assert await subject.target.invoke(run(b"", key=b"")) == SUCCEEDED
    (arrival,) = await subject.arrived()
    assert arrival.key == b""
    assert arrival.value in (b"", subject.nulls[0])


async def test_records_of_a_key_that_are_sent_in_turn_arrive_in_turn(subject: Subject) -> None:
    """While others are on their way; a key of some length and one of hardly any."""
    keys = [b"a", b"key-" * 200]

    async def send(key: bytes) -> None:
        for number in range(20):
            sent = run(b"%d" % number, key=key)
            assert await subject.target.invoke(sent) == SUCCEEDED

    await asyncio.gather(*(send(key) for key in keys))
    arrived = await subject.arrived()
    for key in keys:
        values = [arrival.value for arrival in arrived if arrival.key == key]
        assert values == [b"%d" % number for number in range(20)]


async def test_many_calls_run_at_the_same_time(subject: Subject) -> None:
    values = [str(number).encode() for number in range(50)]
    outcomes = await asyncio.gather(*(subject.target.invoke(run(value)) for value in values))
    assert set(outcomes) == {SUCCEEDED}
    assert sorted(await subject.values(), key=str) == sorted(values, key=str)


async def test_another_side_that_is_away_is_an_outcome_and_no_exception(subject: Subject) -> None:
    outcome = await subject.away.invoke(run(b"1"))
    assert outcome.kind is OutcomeKind.UNREACHABLE
    assert outcome.error


async def test_another_side_that_goes_is_told_and_never_a_success(subject: Subject) -> None:
    """The first time perhaps by silence, for the record may have been on its way."""
    assert await subject.target.invoke(run(b"1")) == SUCCEEDED
    await subject.vanish()
    first, then = [await subject.target.invoke(run(value)) for value in (b"2", b"3")]
    assert first.kind in (OutcomeKind.NO_ANSWER, OutcomeKind.UNREACHABLE)
    assert then.kind is OutcomeKind.UNREACHABLE
    assert first.error
    assert then.error


async def test_many_calls_to_another_side_that_went_all_end(subject: Subject) -> None:
    assert await subject.target.invoke(run(b"1")) == SUCCEEDED
    await subject.vanish()
    calls = [subject.target.invoke(run(str(number).encode())) for number in range(20)]
    outcomes = await asyncio.gather(*calls)
    assert {outcome.kind for outcome in outcomes} <= {
        OutcomeKind.NO_ANSWER,
        OutcomeKind.UNREACHABLE,
    }


async def test_a_cancelled_call_leaves_the_target_usable(subject: Subject) -> None:
    calling = asyncio.create_task(subject.target.invoke(run(b"1")))
    await asyncio.sleep(0)
    calling.cancel()
    await asyncio.wait({calling}, timeout=10)
    assert calling.done()
    assert await subject.target.invoke(run(b"2")) == SUCCEEDED
    assert b"2" in await subject.values()


async def test_a_target_can_be_closed_twice(subject: Subject) -> None:
    await subject.target.invoke(run(b"1"))
    await subject.target.close()
    await subject.target.close()
