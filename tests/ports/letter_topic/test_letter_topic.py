"""What every topic of dead letters promises."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from router.domain.dead_letter_record import LetterId
from router.domain.delivery import Delivery

from tests.ports.letter_topic.conftest import Letters

WAIT_S = 20.0


async def received(letters: Letters, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(WAIT_S):
        while len(found) < count:
            batches = await letters.feed.receive(wait_s=0.2, records_max=2)
            assert sum(map(len, batches.values())) <= 2 * len(batches)
            found += [record for batch in batches.values() for record in batch]
    return found


@pytest.mark.parametrize(
    ("key", "value"), [(b"k", b"\x00\xff"), (None, b""), (b"", None), (b"", b"")]
)
async def test_a_record_is_read_by_its_coordinates(
    letters: Letters, key: bytes | None, value: bytes | None
) -> None:
    headers = (("twice", b"1"), ("empty", b""), ("twice", b"2"))
    await letters.append(1)
    letter_id = await letters.append(1, headers, key=key, value=value)
    await letters.append(1)
    record = await letters.topic.read(letter_id)
    assert record is not None
    assert (record.key, record.value, record.headers) == (key, value, headers)
    assert (record.partition, record.offset) == (1, letter_id.offset)


async def test_what_is_not_there_is_not_read(letters: Letters) -> None:
    await letters.append(0)
    for partition, offset in ((0, 1), (0, 999), (1, 0), (7, 0)):
        assert await letters.topic.read(LetterId(partition=partition, offset=offset)) is None


async def test_what_expired_since_others_were_read_is_not_read(letters: Letters) -> None:
    expired, kept = await letters.append(0), await letters.append(0)
    assert await letters.topic.read(expired) is not None
    await letters.expire(0, kept.offset)
    assert await letters.topic.read(expired) is None
    record = await letters.topic.read(kept)
    assert record is not None
    assert record.offset == kept.offset


async def test_what_came_since_others_were_read_is_read(letters: Letters) -> None:
    assert await letters.topic.read(await letters.append(0)) is not None
    assert await letters.topic.read(await letters.append(0)) is not None


async def test_spans_tell_first_offset_and_end(letters: Letters) -> None:
    await letters.append(1)
    await letters.append(1)
    assert await letters.topic.spans() == {0: (0, 0), 1: (0, 2)}


async def test_backwards_gives_everything_the_newest_first(letters: Letters) -> None:
    for number in range(8):
        await letters.append(number % 2)
    async with aclosing(letters.topic.backwards()) as batches:
        found = [batch async for batch in batches]
    for partition in (0, 1):
        of_one = [
            [r.offset for r in batch]
            for batch in found
            if batch and batch[0].partition == partition
        ]
        assert sorted(offset for batch in of_one for offset in batch) == [0, 1, 2, 3]
        assert all(batch == sorted(batch) for batch in of_one)
        assert max(of_one[0]) == 3


async def test_forwards_gives_what_there_is_of_the_spans_the_oldest_first(letters: Letters) -> None:
    for number in range(10):
        await letters.append(number % 2)
    spans = {0: (1, 99), 1: (0, 4), 7: (0, 5)}
    async with aclosing(letters.topic.forwards(spans)) as batches:
        found = [batch async for batch in batches]
    assert all({one.partition for one in batch} in ({0}, {1}) for batch in found)
    for partition, offsets in ((0, [1, 2, 3, 4]), (1, [0, 1, 2, 3])):
        of_one = [one.offset for batch in found for one in batch if one.partition == partition]
        assert of_one == offsets
    async with aclosing(letters.topic.forwards({0: (5, 5)})) as batches:
        assert [batch async for batch in batches] == []


async def test_forwards_may_be_left_and_the_topic_used_again(letters: Letters) -> None:
    first = await letters.append(0)
    async with aclosing(letters.topic.forwards({0: (0, 9)})) as batches:
        async for _ in batches:
            break
    assert await letters.topic.read(first) is not None


async def test_backwards_may_be_left_and_the_topic_used_again(letters: Letters) -> None:
    first = await letters.append(0)
    async with aclosing(letters.topic.backwards()) as batches:
        async for _ in batches:
            break
    assert await letters.topic.read(first) is not None
    await letters.topic.close()
    assert await letters.topic.read(first) is not None


async def test_a_feed_begins_where_it_is_told(letters: Letters) -> None:
    for _ in range(4):
        await letters.append(0)
        await letters.append(1)
    assert await letters.feed.open() == {0: (0, 4), 1: (0, 4)}
    await letters.feed.begin({0: 2, 1: 4})
    assert [record.offset for record in await received(letters, 2)] == [2, 3]
    assert await letters.feed.ends() == {0: 4, 1: 4}
    await letters.append(1)
    (record,) = await received(letters, 1)
    assert (record.partition, record.offset) == (1, 4)


async def test_a_feed_may_be_closed_twice_and_opened_again(letters: Letters) -> None:
    await letters.append(0)
    await letters.feed.close()
    for _ in range(2):
        await letters.feed.open()
        await letters.feed.begin({0: 0})
        assert len(await received(letters, 1)) == 1
        await letters.feed.close()
        await letters.feed.close()
