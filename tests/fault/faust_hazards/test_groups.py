"""What Faust does when the members or the topics of its group change (ADR 0001)."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

import pytest

from tests.fault.faust_hazards.conftest import Hazard
from tests.support.produce import produce_values

pytestmark = pytest.mark.fault

RECORDS = 600
WORK_S = 0.005
DEFAULT_SILENCE_S = 30.0
TAKE_OVER_TIMEOUT_S = 85.0
OUR_TAKE_OVER_S = 15.0
RESUBSCRIBE_DEFAULT_S = 45.0
LOAD_PAUSE_S = 0.1
ADDED = 14
REPEATS_AT_LEAST = 1_000
DEFAULT_COMMIT_INTERVAL_S = 2.8


async def test_safe_a_second_worker_that_joins_loses_nothing(hazard: Hazard) -> None:
    await hazard.produce(*[b"quick"] * RECORDS)
    hazard.start(work_s=WORK_S)
    await hazard.until(lambda: len(hazard.done) > RECORDS // 10)
    hazard.start(work_s=WORK_S)
    await hazard.until(lambda: hazard.done == set(range(RECORDS)))


@pytest.mark.parametrize(
    ("settings", "at_least_s", "at_most_s"),
    [({}, DEFAULT_SILENCE_S, TAKE_OVER_TIMEOUT_S), (None, 0.0, OUR_TAKE_OVER_S)],
    ids=["default settings: silent for more than half a minute", "ours: 15 seconds"],
)
async def test_how_long_the_work_of_a_killed_worker_lies(
    hazard: Hazard, settings: dict[str, int] | None, at_least_s: float, at_most_s: float
) -> None:
    options: dict[str, Any] = {} if settings is None else {"settings": settings}
    await hazard.produce(b"quick")
    worker = hazard.start(**options)
    await hazard.until(lambda: 0 in hazard.done)
    worker.kill()
    killed_s = time.monotonic()
    await hazard.produce(b"quick")
    hazard.start(**options)
    await hazard.until(lambda: 1 in hazard.done, timeout_s=TAKE_OVER_TIMEOUT_S)
    assert at_least_s < time.monotonic() - killed_s < at_most_s


async def test_late_a_topic_that_is_added_at_run_time_is_not_read_for_45_seconds(
    hazard: Hazard,
) -> None:
    added = f"hazard-added-{uuid4()}"
    await hazard.kafka.create_topic(added)
    await produce_values(hazard.kafka, added, [(None, b"quick")])
    await hazard.produce(b"quick")
    hazard.start("growing", added=[added], added_pause_s=0, resubscribe_s=RESUBSCRIBE_DEFAULT_S)
    await hazard.until(lambda: bool(hazard.noted("subscribed")))
    began_s = time.monotonic()
    await hazard.until(lambda: bool(hazard.noted("added")), timeout_s=TAKE_OVER_TIMEOUT_S)
    assert time.monotonic() - began_s > RESUBSCRIBE_DEFAULT_S - 10


async def test_crash_or_thousands_of_repeats_when_topics_are_added_under_load(
    hazard: Hazard,
) -> None:
    """Which of the two is a matter of chance: about every second run crashed."""
    added = [f"hazard-burst-{uuid4()}" for _ in range(ADDED)]
    for name in added:
        await hazard.kafka.create_topic(name)
    await hazard.produce(b"quick")
    worker = hazard.start(
        "growing",
        added=added,
        added_pause_s=3.0,
        resubscribe_s=0.2,
        settings={},
        commit_interval_s=DEFAULT_COMMIT_INTERVAL_S,
    )

    async def load() -> None:
        while True:
            await hazard.produce(*[b"quick"] * 100)
            await asyncio.sleep(LOAD_PAUSE_S)

    loading = asyncio.create_task(load())
    try:
        await hazard.until(
            lambda: not worker.running or len(hazard.noted("subscribed")) == len(added),
            timeout_s=TAKE_OVER_TIMEOUT_S,
        )
    finally:
        loading.cancel()
    crashed = "Partition is not assigned" in worker.log_path.read_text()
    repeated = len(hazard.noted("began")) - len(set(hazard.noted("began")))
    assert crashed or repeated > REPEATS_AT_LEAST, f"{repeated} repeated"
