"""What Faust does when the members or the topics of its group change (ADR 0001)."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer

from tests.fault.faust_hazards.conftest import OURS, Hazard
from tests.support.produce import produce_values

pytestmark = pytest.mark.fault

RECORDS = 600
COPIED = 3_000
QUIET_POLLS = 5
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


@pytest.mark.parametrize("joins", [True, False], ids=["a second worker joins", "killed, restarted"])
async def test_exactly_once_loses_nothing_and_repeats_after_a_kill(
    hazard: Hazard, joins: bool
) -> None:
    """With a join it repeats by chance (12 of 3,000 in one run of three): only a kill is sure."""
    copies = f"hazard-copies-{uuid4()}"
    await hazard.kafka.create_topic(copies)
    await hazard.produce(*[b"quick"] * COPIED)
    options: dict[str, Any] = {
        "copies": copies,
        "work_s": 0.002,
        "settings": {**OURS, "processing_guarantee": "exactly_once"},
    }
    first = hazard.start("copying", **options)
    await hazard.until(lambda: len(hazard.done) > COPIED // 4)
    if not joins:
        first.kill()
    hazard.start("copying", **options)
    await hazard.until(lambda: len(hazard.done) == COPIED, timeout_s=TAKE_OVER_TIMEOUT_S)
    values = await _committed_values(hazard, copies)
    assert len(set(values)) == COPIED, "nothing is lost"
    if not joins:
        assert len(values) > COPIED, "once it was not: readers of committed records see some twice"


async def _committed_values(hazard: Hazard, topic: str) -> list[bytes]:
    """What a reader sees who reads what is committed only, until nothing more comes."""
    values: list[bytes] = []
    async with AIOKafkaConsumer(
        topic,
        group_id=None,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        **hazard.kafka.client_settings(),
    ) as consumer:
        quiet = 0
        while quiet < QUIET_POLLS:
            batches = await consumer.getmany(timeout_ms=1000)
            found = [message.value for batch in batches.values() for message in batch]
            values += found
            quiet = 0 if found else quiet + 1
    return values
