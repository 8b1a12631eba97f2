"""A flow that polls and delivers nothing: found out, opened anew, and at last the worker ends."""

from __future__ import annotations

import asyncio
import json
import time
from uuid import uuid4

import pytest
from catalog.events import ApiType
from devstack import Kafka
from servicekit.lifecycle import EXIT_FAILED

from tests.integration.router_control.conftest import ALGORITHM, POLL_S, WAIT_S, Routers, Worker
from tests.integration.router_control.test_flows import bodies_of, subscribed, until_asked
from tests.support.deaf_router import DEAF_PREFIX
from tests.support.event_log import flow_id_of
from tests.support.produce import produce_values
from tests.support.router_runner import Runner
from tests.support.scripted_registry import ScriptedRegistry

DEAF_ROUTER = "tests.support.deaf_router"


async def until_opened_anew(worker: Worker, flow_id: str, times: int) -> None:
    """Wait until the metrics say so."""
    wanted = f'router_flow_source_restarts_total{{flow_id="{flow_id}"}}'
    async with asyncio.timeout(WAIT_S):
        while True:
            for line in (await worker.metrics_text()).splitlines():
                if line.startswith(wanted) and float(line.split()[-1]) >= times:
                    return
            await asyncio.sleep(POLL_S)


@pytest.mark.fault
async def test_a_worker_ends_for_a_stuck_flow_once_and_then_leaves_the_others_in_peace(
    routers: Routers, script: ScriptedRegistry, kafka: Kafka, runner: Runner
) -> None:
    good_topic, _ = await subscribed(script, kafka)
    deaf_topic = f"{DEAF_PREFIX}{uuid4()}"
    await kafka.create_topic(deaf_topic)
    script.log.subscribe("cluster", deaf_topic, ALGORITHM)
    deaf_id = flow_id_of("cluster", deaf_topic, ALGORITHM, ApiType.SUBSCRIBER)
    script.tell()
    worker = await routers.start("deaf", program=DEAF_ROUTER, runner_url=runner.url)
    good = bodies_of("good")
    await produce_values(kafka, good_topic, good)
    await produce_values(kafka, deaf_topic, bodies_of("never"))
    await until_asked(runner, {value for _, value in good})
    await until_opened_anew(worker, deaf_id, 1)

    assert await worker.service.finish(timeout_s=WAIT_S) == EXIT_FAILED
    assert "make no progress although their sources were opened anew" in worker.log_text()
    restarts = json.loads((routers.folder / "deaf" / "restarts.json").read_text())
    assert list(restarts) == [deaf_id]

    again = await routers.start("deaf", program=DEAF_ROUTER, runner_url=runner.url)
    began_s = time.monotonic()
    await until_opened_anew(again, deaf_id, 2)
    more = bodies_of("more")
    await produce_values(kafka, good_topic, more)
    await until_asked(runner, {value for _, value in more})
    assert again.service.process.running, f"{time.monotonic() - began_s:.0f} s after its start"
    assert len(runner.asked) == len(good) + len(more)
