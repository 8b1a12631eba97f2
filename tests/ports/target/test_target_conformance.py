"""What every target promises, asked of memory, of a runner over HTTP and of two Kafkas."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from devstack import Kafka
from router.adapters.algorithm_target import AlgorithmTarget, runner_session
from router.adapters.kafka_producers import KafkaProducers
from router.adapters.kafka_target import KafkaTarget
from router.adapters.memory_target import MemoryTarget
from router.domain.delivery import Run
from router.domain.flow_spec import KafkaTargetSpec
from router.domain.outcome import SUCCEEDED, OutcomeKind, failed
from router.ports import Target

from tests.support.router_flows import COMPLETION, PUBLISHER, SUBSCRIBER, delivery
from tests.support.router_runner import running_runner
from tests.support.router_sources import connection_of, kafka_topic

NOBODY = "127.0.0.1:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A target, another one whose other side is away, and the values that arrived."""

    target: Target
    away: Target
    arrived: Callable[[], Awaitable[list[bytes | None]]]


@pytest.fixture(params=["memory", "algorithm", "kafka", "customer_kafka"])
def open_subject(
    request: pytest.FixtureRequest,
) -> Callable[[], "AsyncIterator[Subject]"]:
    """Opens a target of one kind."""
    if request.param == "memory":
        return _memory
    if request.param == "algorithm":
        return _algorithm
    kafka = request.getfixturevalue(request.param)
    return lambda: _kafka(kafka)


@pytest_asyncio.fixture(loop_scope="session")
async def subject(
    open_subject: Callable[[], AsyncIterator[Subject]],
) -> AsyncIterator[Subject]:
    async with asynccontextmanager(open_subject)() as opened:
        yield opened


async def _memory() -> AsyncIterator[Subject]:
    target, away = MemoryTarget(), MemoryTarget()
    away.default = failed(OutcomeKind.UNREACHABLE, "nobody is there")

    async def arrived() -> list[bytes | None]:
        return target.values

    yield Subject(target=target, away=away, arrived=arrived)


async def _algorithm() -> AsyncIterator[Subject]:
    async with running_runner() as runner, runner_session() as session:

        async def arrived() -> list[bytes | None]:
            return [asked.body for asked in runner.asked]

        yield Subject(
            target=AlgorithmTarget(
                SUBSCRIBER, session=session, runner_url=runner.url, token="t", position=lambda: 9
            ),
            away=AlgorithmTarget(
                SUBSCRIBER,
                session=session,
                runner_url=f"http://{NOBODY}",
                token="t",
                position=lambda: 9,
            ),
            arrived=arrived,
        )


async def _kafka(kafka: Kafka) -> AsyncIterator[Subject]:
    producers = KafkaProducers()
    async with kafka_topic(kafka) as topic:
        spec = replace(PUBLISHER, target=KafkaTargetSpec(connection_id="c-1", topic=topic.name))
        nowhere = connection_of(kafka, bootstrap_servers=(NOBODY,))
        target = KafkaTarget(spec, connection=topic.connection, producers=producers)
        away = KafkaTarget(spec, connection=nowhere, producers=producers)

        async def arrived() -> list[bytes | None]:
            return await _values(kafka, topic.name)

        yield Subject(target=target, away=away, arrived=arrived)
        await target.close()
        await away.close()
        await producers.close()


async def _values(kafka: Kafka, topic: str) -> list[bytes | None]:
    """Everything that the topic holds now."""
    partition = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(**kafka.client_settings()) as consumer:
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        consumer.seek(partition, 0)
        values: list[bytes | None] = []
        while len(values) < end:
            values.append((await consumer.getone()).value)
        return values


def run(value: bytes) -> Run:
    record = delivery(key=value, value=value, headers=COMPLETION)
    return Run(delivery=record, request_id="req-1", attempt=1, hops=1, traceparent="")


async def test_a_success_has_had_its_effect_with_the_records_own_bytes(subject: Subject) -> None:
    assert await subject.target.invoke(run(b'{"x": 1}')) == SUCCEEDED
    assert await subject.arrived() == [b'{"x": 1}']


async def test_many_calls_run_at_the_same_time(subject: Subject) -> None:
    values = [str(number).encode() for number in range(50)]
    outcomes = await asyncio.gather(*(subject.target.invoke(run(value)) for value in values))
    assert set(outcomes) == {SUCCEEDED}
    assert sorted(await subject.arrived(), key=str) == sorted(values, key=str)


async def test_another_side_that_is_away_is_an_outcome_and_no_exception(subject: Subject) -> None:
    outcome = await subject.away.invoke(run(b"1"))
    assert outcome.kind is OutcomeKind.UNREACHABLE
    assert outcome.error


async def test_a_cancelled_call_leaves_the_target_usable(subject: Subject) -> None:
    calling = asyncio.create_task(subject.target.invoke(run(b"1")))
    await asyncio.sleep(0)
    calling.cancel()
    await asyncio.wait({calling}, timeout=10)
    assert calling.done()
    assert await subject.target.invoke(run(b"2")) == SUCCEEDED
    assert b"2" in await subject.arrived()


async def test_a_target_can_be_closed_twice(subject: Subject) -> None:
    await subject.target.invoke(run(b"1"))
    await subject.target.close()
    await subject.target.close()
