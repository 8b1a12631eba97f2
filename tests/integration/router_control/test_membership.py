"""Workers share the 64 shards: joining, dying, leaving, freezing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tests.integration.router_control.conftest import Routers

TAKE_OVER_TIMEOUT_S = 15.0
HAND_OVER_TIMEOUT_S = 3.0
EXIT_TIMEOUT_S = 5.0


def owns(count: int) -> Callable[[dict[str, Any]], bool]:
    """Does the worker own that many shards?"""
    return lambda health: len(health["shards"]) == count


async def test_a_worker_alone_owns_all_shards_and_says_that_it_is_ready(routers: Routers) -> None:
    worker = await routers.start("one")
    health = await worker.health()
    assert health["ready"] is True
    assert health["member"] is True
    assert health["worker"] == "one"
    assert health["shards"] == list(range(64))
    assert health["flows"] == {}
    assert health["catalog"]["caught_up"] is True


async def test_a_second_worker_takes_half_and_a_killed_one_is_replaced(routers: Routers) -> None:
    one = await routers.start("one")
    two = await routers.start("two")
    first, second = await asyncio.gather(one.until(owns(32)), two.until(owns(32)))
    assert set(first["shards"]) | set(second["shards"]) == set(range(64))
    one.service.kill()
    await two.until(owns(64), timeout_s=TAKE_OVER_TIMEOUT_S)


async def test_a_worker_that_is_told_to_stop_hands_over_at_once_and_exits_cleanly(
    routers: Routers,
) -> None:
    one = await routers.start("one")
    two = await routers.start("two")
    await asyncio.gather(one.until(owns(32)), two.until(owns(32)))
    stopping = asyncio.create_task(one.service.process.terminate(EXIT_TIMEOUT_S))
    began_s = time.monotonic()
    await two.until(owns(64), timeout_s=HAND_OVER_TIMEOUT_S)
    took_s = time.monotonic() - began_s
    assert await stopping == 0, one.service.process.log_tail()
    assert took_s < HAND_OVER_TIMEOUT_S


async def test_a_worker_without_a_registry_is_alive_and_not_ready(routers: Routers) -> None:
    worker = routers.spawn("lonely", registry_address="127.0.0.1:9")
    await worker.until_it_answers()
    health = await worker.until(lambda health: bool(health["member"]))
    assert health["ready"] is False
    assert health["catalog"]["caught_up"] is False


async def test_a_thawed_worker_comes_back_as_a_member_and_shares_again(routers: Routers) -> None:
    one = await routers.start("one")
    two = await routers.start("two")
    await asyncio.gather(one.until(owns(32)), two.until(owns(32)))
    one.service.process.pause()
    await two.until(owns(64), timeout_s=TAKE_OVER_TIMEOUT_S)
    one.service.process.resume()
    second = set((await two.until(owns(32)))["shards"])
    await one.until(lambda health: set(health["shards"]) == set(range(64)) - second)
