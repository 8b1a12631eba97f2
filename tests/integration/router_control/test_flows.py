"""Worker processes run what the registry's log wants: start, change, stop, move, answer."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

from catalog.events import ConnectionCreated, SecurityProtocol
from devstack import Kafka
from eventflows.router.v1 import router_pb2
from eventflows.router.v1.router_pb2 import FlowStatus, GetFlowStatusRequest

from tests.integration.router_control.conftest import ALGORITHM, POLL_S, WAIT_S, Routers, Worker
from tests.support.event_log import id_of
from tests.support.produce import produce_values
from tests.support.router_runner import Runner
from tests.support.scripted_registry import ScriptedRegistry

EFFECTIVE_S = 1.0
TAKE_OVER_TIMEOUT_S = 20.0
RUNNING = router_pb2.FLOW_STATE_RUNNING
BLOCKED = router_pb2.FLOW_STATE_BLOCKED


async def subscribed(script: ScriptedRegistry, kafka: Kafka) -> tuple[str, str]:
    """A new topic with an enabled subscriber flow: (topic, flow id). Not told yet."""
    topic = f"router-control-{uuid4()}"
    await kafka.create_topic(topic, 2)
    return topic, script.log.subscribe("cluster", topic, ALGORITHM)


async def until_asked(runner: Runner, bodies: set[bytes]) -> None:
    """Wait until the runner has got all of these."""
    async with asyncio.timeout(WAIT_S):
        while not bodies <= {asked.body for asked in runner.asked}:
            await asyncio.sleep(POLL_S)


def bodies_of(name: str, count: int = 20) -> list[tuple[bytes | None, bytes]]:
    """Records with JSON values that are all different."""
    return [(f"k{n % 5}".encode(), f'"{name}-{n}"'.encode()) for n in range(count)]


def runs_on(worker: Worker, *flow_ids: str) -> Any:
    """Do these flows run, on this worker?"""

    def holds(flows: dict[str, FlowStatus]) -> bool:
        return all(
            flow_id in flows
            and flows[flow_id].state == RUNNING
            and flows[flow_id].worker == worker.name
            for flow_id in flow_ids
        )

    return holds


async def test_a_flow_starts_delivers_and_stops_with_the_log(
    routers: Routers, script: ScriptedRegistry, kafka: Kafka, runner: Runner
) -> None:
    worker = await routers.start("one", runner_url=runner.url)
    topic, flow_id = await subscribed(script, kafka)
    script.tell()
    records = bodies_of("first")
    await produce_values(kafka, topic, records)
    await until_asked(runner, {value for _, value in records})
    flows = await routers.until_flows(worker, lambda f: f[flow_id].settled_total == len(records))
    assert flows[flow_id].state == RUNNING
    assert flows[flow_id].partitions == 2
    assert (await worker.health())["flows"] == {"running": 1}

    script.log.disable(flow_id)
    began_s = time.monotonic()
    script.tell()
    await worker.until(lambda health: health["flows"] == {})
    assert time.monotonic() - began_s < EFFECTIVE_S
    async with routers.ask(worker) as stub:
        answer = await stub.GetFlowStatus(GetFlowStatusRequest(flow_ids=[flow_id]))
    assert [(f.state, f.reason) for f in answer.flows] == [
        (router_pb2.FLOW_STATE_STOPPED, "disabled")
    ]

    later = bodies_of("later")
    await produce_values(kafka, topic, later)
    script.log.enable(flow_id)
    script.tell()
    await until_asked(runner, {value for _, value in later})
    assert len(runner.asked) == len(records) + len(later)


async def test_a_change_that_does_not_touch_a_flow_leaves_it_undisturbed(
    routers: Routers, script: ScriptedRegistry, kafka: Kafka, runner: Runner
) -> None:
    worker = await routers.start("one", runner_url=runner.url)
    _, flow_id = await subscribed(script, kafka)
    script.tell()
    before = await routers.until_flows(worker, runs_on(worker, flow_id))
    _, other_id = await subscribed(script, kafka)
    script.log.account("somebody-else")
    script.tell()
    after = await routers.until_flows(worker, runs_on(worker, flow_id, other_id))
    assert after[flow_id].since.ToDatetime() == before[flow_id].since.ToDatetime()


async def test_a_new_version_is_run_after_the_old_one_was_drained(
    routers: Routers, script: ScriptedRegistry, kafka: Kafka, runner: Runner
) -> None:
    worker = await routers.start("one", runner_url=runner.url)
    topic, flow_id = await subscribed(script, kafka)
    script.tell()
    await routers.until_flows(worker, runs_on(worker, flow_id))
    old = bodies_of("old", 3)
    await produce_values(kafka, topic, old)
    await until_asked(runner, {value for _, value in old})
    script.log.publish(ALGORITHM, "2.0.0")
    script.log.enable(flow_id, "2.0.0")
    script.tell()
    new = bodies_of("new", 3)
    await produce_values(kafka, topic, new)
    await until_asked(runner, {value for _, value in new})
    paths = {asked.body: asked.path for asked in runner.asked}
    assert {paths[value] for _, value in old} == {"/v1/algo/acme/echo/1.0.0"}
    assert paths[new[-1][1]] == "/v1/algo/acme/echo/2.0.0"


async def test_a_revoked_grant_blocks_the_flow_and_every_worker_says_why(
    routers: Routers, script: ScriptedRegistry, kafka: Kafka, runner: Runner
) -> None:
    one = await routers.start("one", runner_url=runner.url)
    two = await routers.start("two", runner_url=runner.url)
    topic, flow_id = await subscribed(script, kafka)
    script.tell()
    await routers.until_flows(one, lambda f: flow_id in f and f[flow_id].state == RUNNING)
    script.log.set_access("cluster", topic)
    script.tell()
    for worker in (one, two):
        flows = await routers.until_flows(worker, lambda f: f[flow_id].state == BLOCKED)
        assert "grant" in flows[flow_id].reason


async def test_a_flow_on_an_unreachable_cluster_backs_off_alone(
    routers: Routers, script: ScriptedRegistry, kafka: Kafka, runner: Runner
) -> None:
    script.log.add(
        id_of("dark"),
        ConnectionCreated(
            connection_id=id_of("dark"),
            name="dark",
            bootstrap_servers=("127.0.0.1:9",),
            security_protocol=SecurityProtocol.PLAINTEXT,
        ),
    )
    dark = [script.log.subscribe("dark", f"t{n}", ALGORITHM) for n in range(5)]
    topic, flow_id = await subscribed(script, kafka)
    script.tell()
    worker = await routers.start("one", runner_url=runner.url)
    records = bodies_of("bright")
    await produce_values(kafka, topic, records)
    await until_asked(runner, {value for _, value in records})
    backing_off = router_pb2.FLOW_STATE_BACKING_OFF
    flows = await routers.until_flows(
        worker, lambda f: all(f[one].state == backing_off for one in dark)
    )
    assert all("127.0.0.1:9" in flows[one].reason for one in dark)
    assert flows[flow_id].state == RUNNING


async def test_any_worker_answers_for_all_flows_and_names_a_worker_that_died(
    routers: Routers, script: ScriptedRegistry, kafka: Kafka, runner: Runner
) -> None:
    one = await routers.start("one", runner_url=runner.url)
    two = await routers.start("two", runner_url=runner.url)
    wired = [await subscribed(script, kafka) for _ in range(6)]
    script.tell()
    flow_ids = {flow_id for _, flow_id in wired}

    def shared(flows: dict[str, FlowStatus]) -> bool:
        return {f.worker for f in flows.values()} == {"one", "two"} and all(
            flow.state == RUNNING for flow in flows.values()
        )

    seen = [await routers.until_flows(worker, shared) for worker in (one, two)]
    assert [set(flows) for flows in seen] == [flow_ids, flow_ids]
    two.service.kill()
    async with routers.ask(one) as stub:
        answer = await stub.GetFlowStatus(GetFlowStatusRequest())
    assert list(answer.unreachable_workers) == ["two"]
    assert {flow.flow_id for flow in answer.flows} == flow_ids
    await routers.until_flows(one, runs_on(one, *flow_ids), timeout_s=TAKE_OVER_TIMEOUT_S)
    records = [bodies_of(topic, 4) for topic, _ in wired]
    for (topic, _), values in zip(wired, records, strict=True):
        await produce_values(kafka, topic, values)
    await until_asked(runner, {value for values in records for _, value in values})


async def test_flows_that_stay_run_on_undisturbed_when_a_worker_joins(
    routers: Routers, script: ScriptedRegistry, kafka: Kafka, runner: Runner
) -> None:
    one = await routers.start("one", runner_url=runner.url)
    wired = [await subscribed(script, kafka) for _ in range(8)]
    script.tell()
    ids = [flow_id for _, flow_id in wired]
    before = await routers.until_flows(one, runs_on(one, *ids))
    await routers.start("two", runner_url=runner.url)

    def shared(flows: dict[str, FlowStatus]) -> bool:
        return len({f.worker for f in flows.values() if f.state == RUNNING}) == 2

    after = await routers.until_flows(one, shared)
    stayed = [flow_id for flow_id in ids if after[flow_id].worker == "one"]
    assert stayed
    for flow_id in stayed:
        assert after[flow_id].since.ToDatetime() == before[flow_id].since.ToDatetime()


async def test_metrics_tell_what_the_flows_of_the_worker_do(
    routers: Routers, script: ScriptedRegistry, kafka: Kafka, runner: Runner
) -> None:
    worker = await routers.start("one", runner_url=runner.url)
    topic, flow_id = await subscribed(script, kafka)
    script.tell()
    records = bodies_of("counted", 7)
    await produce_values(kafka, topic, records)
    await routers.until_flows(worker, lambda f: f[flow_id].settled_total == 7)
    wanted = f'router_flow_settled_total{{flow_id="{flow_id}"}} 7.0'
    async with asyncio.timeout(WAIT_S):
        while wanted not in (text := await worker.metrics_text()):
            await asyncio.sleep(POLL_S)
    assert 'router_flows{state="running"} 1.0' in text
    assert "router_owned_shards 64.0" in text
