"""Letters on a real Kafka come into a real PostgreSQL, and are found and read there."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer import message_accumulator
from aiokafka.producer import producer as aiokafka_producer
from aiokafka.record.default_records import (
    _DefaultRecordBatchBuilderPy as PurePythonBuilder,
)
from devstack import Kafka
from kernel.errors import StateForbids, Unavailable
from router.adapters import kafka_letter_topic
from router.adapters.kafka_letter_topic import KafkaLetterTopic
from router.domain.dead_letter_query import LetterQuery
from router.domain.dead_letter_record import LetterState, original_of
from router.domain.kafka_connection import KafkaConnection

from tests.integration.dead_letters.conftest import World
from tests.support.letters import ids
from tests.support.router_flows import delivery

HEADERS = (("twice", b"1"), ("ef-dl-flow", b"forged"), ("twice", b"2"), ("empty", b""))
ALL = LetterQuery(states=frozenset(LetterState))


async def test_the_index_follows_the_topic_and_goes_on_after_a_restart(world: World) -> None:
    async with world.reading() as reader:
        first = await world.letter(delivery(1))
        await world.write((("foreign", b"1"),))
        await world.caught_up(reader)
        assert reader.status().unreadable_total == 1
    second = await world.letter(delivery(2), partition=1)
    await world.mark(first, LetterState.PURGED)
    async with world.reading() as reader:
        await world.caught_up(reader)
        assert reader.status().rebuilds_total == 0
    found = await world.queries.page(LetterQuery(), below=None, letters_max=10)
    assert ids(found) == [str(second)]
    purged = await world.queries.find(first)
    assert purged is not None
    assert purged.state is LetterState.PURGED


async def test_an_index_that_was_dropped_is_made_again(world: World) -> None:
    async with world.reading() as reader:
        letters = [await world.letter(delivery(n), partition=n % 2) for n in range(20)]
        await world.mark(letters[3], LetterState.REDRIVEN)
        await world.caught_up(reader)
    before = await world.queries.page(ALL, below=None, letters_max=100)
    async with world.database.connection("a test") as connection:
        await connection.execute("DROP SCHEMA dead_letters_v2 CASCADE")
    with pytest.raises(Unavailable, match="not made yet"):
        await world.queries.count(ALL)
    async with world.reading() as reader:
        await world.caught_up(reader)
    assert await world.queries.page(ALL, below=None, letters_max=100) == before
    assert len(before) == 20


@pytest.mark.parametrize(
    ("key", "value"), [(b"k", b"\x00\xff"), (None, b""), (b"", None), (None, None), (b"", b"")]
)
async def test_the_original_is_read_back_byte_for_byte(
    world: World, key: bytes | None, value: bytes | None
) -> None:
    original = delivery(5, partition=3, key=key, value=value, headers=HEADERS, epoch=0)
    await world.letter(delivery(4))
    letter_id = await world.letter(original)
    await world.letter(delivery(6))
    record = await world.topic.read(letter_id)
    assert record is not None
    assert original_of(record) == original


async def test_whoever_connects_again_asks_anew_how_to(world: World) -> None:
    letter_id, asked = await world.letter(delivery(1)), 0

    async def connect() -> KafkaConnection:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise Unavailable("no credentials")
        return world.connection

    topic = KafkaLetterTopic(connect, topic=world.name, client_id="letters")
    assert await topic.read(letter_id) is not None
    assert asked == 1
    await topic.close()
    with pytest.raises(Unavailable, match="no credentials"):
        await topic.spans()
    assert await topic.read(letter_id) is not None
    assert asked == 3
    await topic.close()


async def test_a_letter_of_15_mb_is_indexed_and_read(world: World) -> None:
    value = bytes(15_000_000)
    async with world.reading() as reader:
        large = await world.letter(delivery(1, value=value))
        small = await world.letter(delivery(2))
        await world.caught_up(reader)
    found = await world.queries.page(ALL, below=None, letters_max=10)
    assert sorted(ids(found)) == sorted([str(large), str(small)])
    record = await world.topic.read(large)
    assert record is not None
    assert record.value == value


async def test_a_scan_waits_for_a_letter_that_takes_its_time_to_come(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_letter_topic, "RECEIVE_WAIT_S", 0.001)  # each of these takes longer
    letters = [await world.letter(delivery(n, value=bytes(5_000_000))) for n in range(2)]
    async with aclosing(world.topic.forwards({0: (0, 2)})) as batches:
        found = [one.offset async for batch in batches for one in batch]
    assert found == [one.offset for one in letters]


class NoUnicode(str):
    """A header name that only a foreign client writes."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


async def test_a_header_name_that_is_no_unicode_stops_nothing(
    world: World, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = [await world.letter(delivery(1)), await world.letter(delivery(2), partition=1)]
    with monkeypatch.context() as patch:
        for module in (message_accumulator, aiokafka_producer):
            patch.setattr(module, "DefaultRecordBatchBuilder", PurePythonBuilder)
        async with AIOKafkaProducer(**kafka.client_settings(), linger_ms=50) as foreign:
            names = ("x", NoUnicode("x"), "x")
            sent = [
                await foreign.send(world.name, b"v", headers=[(name, b"")], partition=0)
                for name in names
            ]
            await asyncio.gather(*sent)
    letters.append(await world.letter(delivery(3)))
    async with world.reading() as reader:
        await world.caught_up(reader)
    found = await world.queries.page(ALL, below=None, letters_max=10)
    assert sorted(ids(found)) == sorted(map(str, letters))
    with pytest.raises(StateForbids, match="no UTF-8"):
        _ = [batch async for batch in world.topic.backwards()]
    assert await world.topic.read(letters[0]) is not None
