"""What every `Completions` promises, asked of memory and of Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
import pytest_asyncio
from devstack import Kafka
from kernel.errors import TooLarge, Unavailable
from runner.adapters.kafka_completions import KafkaCompletions
from runner.adapters.memory_completions import MemoryCompletions
from runner.domain.limits import COMPLETION_BYTES_MAX
from runner.ports import Completions

from tests.integration.runner.completions import completion

NOBODY = "127.0.0.1:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One that works and one whose other side is away."""

    completions: Completions
    away: Completions


@pytest.fixture(params=["memory", "kafka"])
def made(request: pytest.FixtureRequest) -> Subject:
    """Not in the async fixture: there pytest cannot start the `kafka` fixture."""
    if request.param == "memory":
        away = MemoryCompletions()
        away.reachable = False
        return Subject(completions=MemoryCompletions(), away=away)
    kafka: Kafka = request.getfixturevalue("kafka")
    return Subject(
        completions=KafkaCompletions(kafka.bootstrap_servers), away=KafkaCompletions(NOBODY)
    )


@pytest_asyncio.fixture(loop_scope="session")
async def subject(made: Subject) -> AsyncIterator[Subject]:
    yield made
    for each in (made.completions, made.away):
        if isinstance(each, KafkaCompletions):
            await each.close()


async def test_the_first_write_needs_no_preparation(subject: Subject) -> None:
    await subject.completions.write(completion())


async def test_preparing_twice_is_harmless(subject: Subject) -> None:
    one = completion()
    await subject.completions.prepare(one.algorithm_id)
    await subject.completions.prepare(one.algorithm_id)
    await subject.completions.write(one)


async def test_many_preparations_at_the_same_time_all_succeed(subject: Subject) -> None:
    one = completion()
    await asyncio.gather(
        *(subject.completions.prepare(one.algorithm_id) for _ in range(50)),
        subject.completions.prepare(completion().algorithm_id),
    )
    await subject.completions.write(one)


async def test_many_writes_at_the_same_time_all_succeed(subject: Subject) -> None:
    one = completion()
    await asyncio.gather(*(subject.completions.write(one) for _ in range(50)))


async def test_a_completion_that_no_topic_takes_is_too_large(subject: Subject) -> None:
    with pytest.raises(TooLarge):
        await subject.completions.write(completion(bytes(COMPLETION_BYTES_MAX + 1024 * 1024)))
    await subject.completions.write(completion())


async def test_what_is_away_is_unavailable(subject: Subject) -> None:
    with pytest.raises(Unavailable):
        await subject.away.write(completion())
    with pytest.raises(Unavailable):
        await subject.away.prepare(str(uuid4()))
