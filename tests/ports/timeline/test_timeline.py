"""What every line of time promises."""

from __future__ import annotations

from datetime import timedelta

from tests.ports.timeline.conftest import Told

MICROSECOND = timedelta(microseconds=1)


async def test_a_time_is_the_last_seal_up_to_it(told: Told) -> None:
    first, second, third = [await told.sealed(2) for _ in range(3)]
    assert (await told.timeline.seal_at(first.time)).seal == first
    assert (await told.timeline.seal_at(second.time - MICROSECOND)).seal == first
    assert (await told.timeline.seal_at(second.time)).seal == second
    assert (await told.timeline.seal_at(third.time)).seal == third


async def test_before_the_first_seal_there_is_none(told: Told) -> None:
    first = await told.sealed()
    assert (await told.timeline.seal_at(first.time - MICROSECOND)).seal is None


async def test_an_empty_log_has_no_seal_at_any_time(told: Told) -> None:
    clock = (await told.timeline.seal_at((await told.store.head()).time)).clock
    found = await told.timeline.seal_at(clock - MICROSECOND)
    assert found.seal is None
    assert found.clock > clock - MICROSECOND


async def test_a_time_that_is_not_past_has_no_seal_and_tells_the_clock(told: Told) -> None:
    first = await told.sealed()
    ahead = first.time + timedelta(hours=1)
    found = await told.timeline.seal_at(ahead)
    assert found.seal is None
    assert first.time <= found.clock < ahead


async def test_a_time_after_the_last_seal_keeps_its_answer(told: Told) -> None:
    first = await told.sealed()
    now = (await told.timeline.seal_at(first.time)).clock - MICROSECOND
    if now < first.time:
        now = first.time
    assert (await told.timeline.seal_at(now)).seal == first
    later = await told.sealed()
    assert later.time > now
    assert (await told.timeline.seal_at(now)).seal == first


async def test_the_seal_of_a_position_holds_it(told: Told) -> None:
    first, second = await told.sealed(3), await told.sealed(2)
    assert [await told.timeline.seal_of(position) for position in range(-1, 7)] == [
        None, None, first, first, first, second, second, None,
    ]  # fmt: skip


async def test_the_first_position_is_1_until_something_is_archived(told: Told) -> None:
    assert await told.timeline.first_position() == 1
    await told.sealed(3)
    assert await told.timeline.first_position() == 1
