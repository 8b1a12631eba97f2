"""Our own Kafka goes away: flows stop in time, nothing crashes, and all of it comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from devstack import Kafka
from eventflows.router.v1.router_pb2 import FLOW_STATE_RUNNING
from servicekit.identity import IdentityFiles

from tests.integration.router_control.conftest import Routers
from tests.integration.router_control.test_flows import subscribed
from tests.support.router_runner import running_runner
from tests.support.scripted_registry import ScriptedRegistry

LOST_TIMEOUT_S = 25.0
BACK_TIMEOUT_S = 40.0


@pytest_asyncio.fixture
async def own_kafka(tmp_path: Path) -> AsyncIterator[Kafka]:
    """An internal Kafka that this test alone may freeze and kill."""
    server = Kafka(tmp_path / "kafka", name="own-kafka")
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


async def test_a_worker_that_nobody_confirms_stops_its_flows_until_somebody_does(
    own_kafka: Kafka,
    kafka: Kafka,
    script: ScriptedRegistry,
    identity_files: IdentityFiles,
    tmp_path: Path,
) -> None:
    routers = Routers(
        kafka=own_kafka,
        registry_address=script.address,
        identities=identity_files,
        folder=tmp_path,
        group_prefix="lost",
    )
    _, flow_id = await subscribed(script, kafka)
    script.tell()
    async with routers, running_runner() as runner:
        worker = await routers.start("one", runner_url=runner.url)
        await routers.until_flows(worker, lambda f: f[flow_id].state == FLOW_STATE_RUNNING)

        own_kafka.process.pause()
        lost = await worker.until(
            lambda health: not health["shards"] and not health["flows"], timeout_s=LOST_TIMEOUT_S
        )
        assert (lost["ready"], lost["member"]) == (False, False)
        await routers.until_serving(worker, False)
        own_kafka.process.resume()
        await worker.until(lambda health: bool(health["ready"]), timeout_s=BACK_TIMEOUT_S)
        await routers.until_flows(worker, lambda f: f[flow_id].state == FLOW_STATE_RUNNING)
        await routers.until_serving(worker, True)

        own_kafka.kill()
        await worker.until(lambda health: not health["ready"], timeout_s=LOST_TIMEOUT_S)
        await own_kafka.restart()
        await worker.until(lambda health: bool(health["ready"]), timeout_s=BACK_TIMEOUT_S)
        await routers.until_flows(worker, lambda f: f[flow_id].state == FLOW_STATE_RUNNING)
        assert worker.service.process.running


async def test_a_worker_waits_for_a_kafka_that_is_not_up_yet_and_can_be_stopped_meanwhile(
    routers: Routers,
) -> None:
    worker = routers.spawn("early", kafka_bootstrap_servers="127.0.0.1:9")
    await worker.until_metrics_answer()
    assert await worker.service.process.terminate(timeout_s=5.0) == 0
    assert "internal topics cannot be made yet" in worker.service.log_path.read_text()
