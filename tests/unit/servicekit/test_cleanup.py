"""Cleanup comes to its end, whoever is cancelled."""

from __future__ import annotations

import asyncio

import pytest
from servicekit.cleanup import to_its_end

from tests.support.manual_clock import let_others_run


async def test_work_gives_what_it_came_to() -> None:
    assert await to_its_end(asyncio.sleep(0, "done")) == "done"


async def test_work_that_fails_raises() -> None:
    async def fail() -> None:
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        await to_its_end(fail())


async def test_whoever_is_cancelled_again_and_again_waits_for_the_end() -> None:
    may_end, ended = asyncio.Event(), False

    async def clean_up() -> None:
        nonlocal ended
        await may_end.wait()
        ended = True

    waiting = asyncio.create_task(to_its_end(clean_up()))
    for _ in range(3):
        await let_others_run()
        waiting.cancel()
    await let_others_run()
    assert not waiting.done()
    may_end.set()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert ended


async def test_a_timeout_around_it_is_told_after_the_end() -> None:
    may_end, ended = asyncio.Event(), False

    async def clean_up() -> None:
        nonlocal ended
        await may_end.wait()
        ended = True

    async def with_timeout() -> None:
        async with asyncio.timeout(0):
            await to_its_end(clean_up())

    waiting = asyncio.create_task(with_timeout())
    await let_others_run()
    may_end.set()
    with pytest.raises(TimeoutError):
        await waiting
    assert ended
