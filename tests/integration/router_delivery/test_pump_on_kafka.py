"""The promises again, where they can break: real brokers, rebalances, kills, freezes."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest_asyncio
from aiokafka import AIOKafkaProducer
from devstack import Kafka
from router.adapters.algorithm_target import runner_pool
from router.adapters.internal_topics import ensure_internal_topics
from router.adapters.kafka_consumer import GroupTimes
from router.adapters.kafka_dead_letters import KafkaDeadLetters
from router.adapters.kafka_producers import KafkaProducers
from router.adapters.kafka_target import KafkaTarget
from router.adapters.memory_dead_letters import MemoryDeadLetters
from router.adapters.memory_target import MemoryTarget
from router.domain.delivery import Delivery
from router.domain.flow_spec import KafkaTargetSpec
from router.domain.status import PumpState

from tests.integration.router_delivery.test_kafka_writing import (
    LARGER_THAN_A_MEGABYTE,
    records_of,
)
from tests.support.dead_letters import internal_letter
from tests.support.kafka_acls import WITH_ACLS, group_denied
from tests.support.router_flows import COMPLETION, PUBLISHER, with_header
from tests.support.router_kafka_pumps import (
    LOOK_S,
    QUICK_LIMITS,
    SteppingTarget,
    kafka_pump,
    order_breaks,
)
from tests.support.router_runner import Answer, algorithm_target, running_runner
from tests.support.router_sources import (
    QUICK_TIMES,
    WAIT_S,
    KafkaTopic,
    connection_of,
    kafka_source,
    kafka_topic,
)

KEYS = 12
MISSED_LATE = replace(QUICK_TIMES, session_timeout_s=2 * WAIT_S)
"""Whoever does not say that it leaves is missed too late."""


@pytest_asyncio.fixture(loop_scope="session")
async def topic(kafka: Kafka) -> AsyncIterator[KafkaTopic]:
    async with kafka_topic(kafka, 4) as made:
        yield made


async def fill(topic: KafkaTopic, count: int, *, begin: int = 0) -> set[bytes]:
    """Records on four partitions, a fixed partition for each key."""
    values = [str(number).encode() for number in range(begin, begin + count)]
    await asyncio.gather(
        *(
            topic.append(value, key=str(int(value) % KEYS).encode(), partition=int(value) % 4)
            for value in values
        )
    )
    return set(values)


async def test_a_flow_runs_from_a_customers_topic_to_a_runner(customer_kafka: Kafka) -> None:
    async with (
        kafka_topic(customer_kafka, 4) as topic,
        running_runner() as runner,
        runner_pool(runner.url) as pool,
    ):
        values = await fill(topic, 100)
        runner.answers.extend([Answer(status=503), Answer(status=429), Answer(cut=True)])
        runner.answers.append(Answer(body=b'{"error": {"message": "no", "error_type": "E"}}'))
        letters = MemoryDeadLetters()
        target = algorithm_target(topic.spec(), pool)
        async with kafka_pump(topic, target, letters=letters) as running:
            await running.until_settled(100)
            assert {asked.body for asked in runner.asked} == values
            assert len(runner.asked) == 103
            assert running.status.retries_total == 3
            assert len(letters.letters) == 1
        assert [await topic.committed(partition) for partition in range(4)] == [25] * 4


async def test_promise_1_a_killed_pump_loses_nothing_and_the_next_one_goes_on(
    topic: KafkaTopic,
) -> None:
    values = await fill(topic, 400)
    killed, survivor = SteppingTarget(), SteppingTarget()
    async with kafka_pump(topic, killed) as running:
        await killed.until_ended(150)
        await running.kill()
    async with kafka_pump(topic, survivor) as running:
        await survivor.until(lambda: values <= ended_values(killed, survivor))
        await running.pump.stop(grace_s=5)
    assert order_breaks([*killed.ended, *survivor.ended]) == 0
    assert sum([await topic.committed(partition) or 0 for partition in range(4)]) == 400


async def test_promise_1_kill_9_loses_nothing(kafka: Kafka, topic: KafkaTopic) -> None:
    values = await fill(topic, 300)
    async with running_runner() as runner, pump_process(kafka, topic, runner.url) as process:
        await runner.until(lambda: len(runner.answered) >= 60)
        process.kill()
        await process.wait()
        async with pump_process(kafka, topic, runner.url):
            await runner.until(lambda: {asked.body for asked in runner.answered} == values)
            assert len(runner.answered) < 2 * len(values)
        asked = list(dict.fromkeys(int(each.body) for each in runner.asked))
    by_key = [[number for number in asked if number % KEYS == key] for key in range(KEYS)]
    assert by_key == [sorted(numbers) for numbers in by_key]


@asynccontextmanager
async def pump_process(
    kafka: Kafka, topic: KafkaTopic, runner_url: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A pump that can be killed; killed in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.router_pump_process",
        stdin=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    flow = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "topic": topic.name,
        "group_id": topic.group_id,
        "runner_url": runner_url,
    }
    assert process.stdin is not None
    process.stdin.write(json.dumps(flow).encode())
    process.stdin.write_eof()
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def ended_values(*targets: MemoryTarget) -> set[bytes | None]:
    return {run.delivery.value for target in targets for run in target.ended}


async def test_promise_3_a_move_between_two_pumps_repeats_nothing(topic: KafkaTopic) -> None:
    values = await fill(topic, 300)
    first, second = SteppingTarget(), SteppingTarget()
    async with kafka_pump(topic, first) as one:
        await one.until_partitions(4)
        await first.until_ended(50)
        async with kafka_pump(topic, second, times=MISSED_LATE) as two:
            await asyncio.gather(one.until_partitions(2), two.until_partitions(2))
            values |= await fill(topic, 300, begin=300)
            await second.until_ended(30)
            await two.pump.stop(grace_s=5)
        await one.until_partitions(4)
        await first.until(lambda: values <= ended_values(first, second))
        await one.pump.stop(grace_s=5)
    runs = [*first.ended, *second.ended]
    assert Counter(run.delivery.value for run in runs) == dict.fromkeys(values, 1)


async def test_promise_5_a_paused_source_keeps_polling_and_is_not_evicted(
    kafka: Kafka,
) -> None:
    times = replace(QUICK_TIMES, max_poll_interval_s=1.0)
    limits = replace(QUICK_LIMITS, span_records_max=5, receive_records_max=5)
    async with kafka_topic(kafka) as topic:
        values = [str(number).encode() for number in range(50)]
        for value in values:
            await topic.append(value)
        target, source = MemoryTarget(), _CountingSource(topic, times)
        target.hold(*values)
        async with kafka_pump(topic, target, source=source.source, limits=limits) as running:
            await target.until_runs(5)
            await source.until_polls(int(3 * times.max_poll_interval_s / limits.receive_wait_s))
            assert len(target.runs) == 5, "the partition is paused"
            assert running.status.state is PumpState.RUNNING
            await target.let_go(*values)
            await target.until_ended(50)
            await running.pump.stop(grace_s=5)
        assert sorted(target.values, key=str) == sorted(values, key=str), "once each"
        assert source.assignments == 1
        assert await topic.committed() == 50


async def test_promise_3_a_topic_of_transactions_is_committed_to_its_end(kafka: Kafka) -> None:
    """Each transaction ends in a marker: were the commit to stay below, a topic that rests would
    lose it to its retention."""
    end = 4  # a record, a marker, a record, a marker
    async with kafka_topic(kafka) as topic:
        settings = kafka.client_settings()
        async with AIOKafkaProducer(**settings, transactional_id=topic.name) as producer:
            async with producer.transaction():
                await producer.send_and_wait(topic.name, b"committed")
            await producer.begin_transaction()
            await producer.send_and_wait(topic.name, b"aborted")
            await producer.abort_transaction()
        for read_committed, values in ((True, [b"committed"]), (False, [b"committed", b"aborted"])):
            topic.group_id += "-again"
            spec = topic.spec()
            spec = replace(spec, source=replace(spec.source, read_committed=read_committed))
            source = kafka_source(spec, topic.connection, positions=topic.positions)
            target = MemoryTarget()
            async with kafka_pump(topic, target, source=source) as running:
                await running.until_settled(len(values))
                async with asyncio.timeout(WAIT_S):
                    while await topic.committed() != end:
                        await asyncio.sleep(LOOK_S)
            assert target.values == values


async def test_promise_7_what_a_topic_refuses_becomes_an_internal_dead_letter(
    kafka: Kafka, customer_kafka: Kafka
) -> None:
    await ensure_internal_topics(kafka.bootstrap_servers)
    producers = KafkaProducers()
    async with kafka_topic(kafka) as completions, kafka_topic(customer_kafka) as results:
        spec = replace(
            completions.spec(PUBLISHER),
            target=KafkaTargetSpec(connection_id="c-1", topic=results.name),
        )
        target = KafkaTarget(spec, connection=results.connection, producers=producers)
        letters = KafkaDeadLetters(
            spec, own=None, internal=connection_of(kafka), producers=producers
        )
        failure = with_header(COMPLETION, "ef-status", b"failed")
        await completions.append(b"first", key=b"k", headers=COMPLETION)
        await completions.append(b"not for this flow", key=b"k", headers=failure)
        await completions.append(LARGER_THAN_A_MEGABYTE, key=b"k", headers=COMPLETION)
        await completions.append(b"last", key=b"k", headers=COMPLETION)
        async with kafka_pump(completions, target, spec=spec, letters=letters) as running:
            await running.until_settled(3)
            assert running.status.dead_lettered_total == 1
        published = await records_of(customer_kafka, results.name, 2)
        letter = await internal_letter(kafka, topic=completions.name)
        assert await completions.committed() == 4
    assert [record.value for record in published] == [b"first", b"last"]
    assert letter.value == LARGER_THAN_A_MEGABYTE
    assert dict(letter.headers)["ef-dl-reason"] == b"record_too_large"
    await producers.close()


async def test_promise_10_a_position_out_of_range_fails_the_flow_with_its_reason(
    topic: KafkaTopic,
) -> None:
    await topic.append(b"one")
    await topic.commit(1_000)
    async with kafka_pump(topic, MemoryTarget()) as running:
        status = await running.until_state(PumpState.FAILED)
        assert "OffsetOutOfRange" in status.reason
        assert "1000" in status.reason
    assert await topic.committed() == 1_000


async def test_promise_10_a_topic_that_does_not_exist_yet_heals_when_it_does(
    kafka: Kafka, topic: KafkaTopic
) -> None:
    spec = topic.spec()
    later = replace(spec, source=replace(spec.source, topic=f"{topic.name}-later"))
    source = kafka_source(later, topic.connection)
    async with kafka_pump(topic, MemoryTarget(), spec=later, source=source) as running:
        status = await running.until_state(PumpState.BACKING_OFF)
        assert f"the topic {topic.name}-later does not exist" in status.reason
        await kafka.create_topic(f"{topic.name}-later")
        await running.until_state(PumpState.RUNNING)


async def test_promise_10_a_cluster_that_is_away_is_told_and_heals_by_itself() -> None:
    own = Kafka(name="own-kafka")
    await own.start()
    try:
        async with kafka_topic(own) as topic:
            await topic.append(b"before")
            target = MemoryTarget()
            async with kafka_pump(topic, target) as running:
                await running.until_settled(1)
                own.kill()
                status = await running.until_state(PumpState.BACKING_OFF)
                assert "not confirmed" in status.reason or "commit" in status.reason
                async with kafka_pump(topic, MemoryTarget()) as fresh:
                    status = await fresh.until_state(PumpState.BACKING_OFF)
                    assert "nothing listens there" in status.reason
                await own.restart()
                await running.until_state(PumpState.RUNNING, wait_s=40)
                await topic.append(b"after")
                await target.until_runs(2)
                assert target.values == [b"before", b"after"]
    finally:
        await own.stop()


async def test_promise_10_a_group_that_may_not_be_read_is_told_and_heals_when_it_may() -> None:
    """aiokafka parks such an error until somebody asks, and nothing polls without a partition."""
    own = Kafka(name="own-kafka", overrides=WITH_ACLS)
    await own.start()
    try:
        async with kafka_topic(own) as topic:
            await topic.append(b"one")
            target = MemoryTarget()
            async with kafka_pump(topic, target) as running:
                await running.until_settled(1)
                async with group_denied(own, topic.group_id):
                    status = await running.until_state(PumpState.BACKING_OFF)
                    assert "GroupAuthorizationFailed" in status.reason
                    async with kafka_pump(topic, MemoryTarget()) as fresh:
                        status = await fresh.until_state(PumpState.BACKING_OFF)
                        assert topic.group_id in status.reason
                await running.until_state(PumpState.RUNNING)
                await topic.append(b"two")
                await target.until_runs(2)
    finally:
        await own.stop()


class _CountingSource:
    """A Kafka source that counts its polls and its assignments."""

    def __init__(self, topic: KafkaTopic, times: GroupTimes) -> None:
        self.source = topic.source(times=times)
        self.polls = 0
        self._changed = asyncio.Condition()
        self._receive = self.source.receive
        self.source.receive = self._counted  # type: ignore[method-assign]

    @property
    def assignments(self) -> int:
        return self.source._last_epoch

    async def _counted(self, *, wait_s: float, records_max: int) -> Sequence[Delivery]:
        async with self._changed:
            self.polls += 1
            self._changed.notify_all()
        return await self._receive(wait_s=wait_s, records_max=records_max)

    async def until_polls(self, more: int) -> None:
        """Wait for so many polls more."""
        aim = self.polls + more
        async with self._changed:
            await self._changed.wait_for(lambda: self.polls >= aim)
