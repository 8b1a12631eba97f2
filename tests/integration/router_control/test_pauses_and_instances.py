"""Real workers pause, drain and resume flows, share the instances of one, and start with many."""

from __future__ import annotations

import time
from typing import Any

from catalog.events import ApiType, DeliverySettings, FailureClass, FlowPaused, GiveUp, RetryRule
from devstack import Kafka
from eventflows.router.v1 import router_pb2
from eventflows.router.v1.router_pb2 import FlowStatus

from tests.integration.router_control.conftest import Routers
from tests.integration.router_control.test_flows import (
    EFFECTIVE_S,
    RUNNING,
    bodies_of,
    runs_on,
    subscribed,
    until_asked,
)
from tests.support.event_log import flow_id_of
from tests.support.produce import produce_values
from tests.support.router_runner import Answer, Runner
from tests.support.scripted_registry import ScriptedRegistry

PAUSED = router_pb2.FLOW_STATE_PAUSED
MANY_FLOWS = 200
MANY_START_MAX_S = 10.0
MANY_TIMEOUT_S = 60.0


def is_paused(flow_id: str) -> Any:
    def holds(flows: dict[str, FlowStatus]) -> bool:
        return flow_id in flows and flows[flow_id].state == PAUSED

    return holds


async def test_a_pause_is_effective_within_a_second_and_outlives_the_worker(
    routers: Routers, script: ScriptedRegistry, kafka: Kafka, runner: Runner
) -> None:
    worker = await routers.start("one", runner_url=runner.url)
    topic, flow_id = await subscribed(script, kafka)
    script.tell()
    await routers.until_flows(worker, runs_on(worker, flow_id))
    script.log.pause(flow_id, reason="the model is being replaced")
    began_s = time.monotonic()
    script.tell()
    flows = await routers.until_flows(worker, is_paused(flow_id))
    assert time.monotonic() - began_s < EFFECTIVE_S
    assert flows[flow_id].reason == "the model is being replaced"

    records = bodies_of("held")
    await produce_values(kafka, topic, records)
    flows = await routers.until_flows(worker, lambda f: f[flow_id].lag_records == len(records))
    assert flows[flow_id].state == PAUSED, "it stays a member and measures its lag"
    await worker.service.stop()
    other = await routers.start("two", runner_url=runner.url)
    flows = await routers.until_flows(other, lambda f: f[flow_id].lag_records == len(records))
    assert (flows[flow_id].state, flows[flow_id].worker) == (PAUSED, "two")
    assert not runner.asked

    script.log.resume(flow_id)
    began_s = time.monotonic()
    script.tell()
    await until_asked(runner, {value for _, value in records})
    assert time.monotonic() - began_s < EFFECTIVE_S
    assert len(runner.asked) == len(records)


async def test_a_flow_that_its_own_rule_halted_outlives_the_worker_and_is_resumed(
    routers: Routers, script: ScriptedRegistry, kafka: Kafka, runner: Runner
) -> None:
    runner.answers.append(Answer(body=b'{"error": {"message": "bad", "error_type": "Digit"}}'))
    worker = await routers.start("one", runner_url=runner.url)
    topic, flow_id = await subscribed(script, kafka)
    rule = RetryRule(failure=FailureClass.ALGORITHM_ERROR, attempts_max=1, give_up=GiveUp.HALT_FLOW)
    script.log.enable(flow_id, delivery=DeliverySettings(retries=(rule,)))
    script.tell()
    await routers.until_flows(worker, runs_on(worker, flow_id))
    (first, *others) = bodies_of("halted")
    await produce_values(kafka, topic, [first])
    await routers.until_flows(worker, is_paused(flow_id))
    noted = script.log.recorded[-1].event
    assert isinstance(noted, FlowPaused)
    assert noted.reason.endswith("offset 0: algorithm_error Digit")

    await produce_values(kafka, topic, others)
    await worker.service.stop()
    other = await routers.start("two", runner_url=runner.url)
    flows = await routers.until_flows(other, lambda f: f[flow_id].lag_records == len(others) + 1)
    assert (flows[flow_id].state, flows[flow_id].reason) == (PAUSED, noted.reason)
    assert len(runner.asked) == 1, "nobody resumed it"
    script.log.resume(flow_id)
    script.tell()
    await until_asked(runner, {value for _, value in others})
    assert [asked.body for asked in runner.asked].count(first[1]) == 2


async def test_the_instances_of_a_flow_share_its_partitions_over_the_workers(
    routers: Routers, script: ScriptedRegistry, kafka: Kafka, runner: Runner
) -> None:
    one = await routers.start("one", runner_url=runner.url)
    two = await routers.start("two", runner_url=runner.url)
    await one.until(lambda health: len(health["shards"]) == 32)
    topic, flow_id = await subscribed(script, kafka)
    script.log.enable(flow_id, delivery=DeliverySettings(parallelism=8))
    script.tell()

    def all_run(flows: dict[str, FlowStatus]) -> bool:
        flow = flows.get(flow_id)
        return flow is not None and (flow.state, flow.instances, flow.partitions) == (RUNNING, 8, 2)

    flows = await routers.until_flows(two, all_run)
    assert flows[flow_id].worker == "one, two"
    records = bodies_of("shared", 200)
    await produce_values(kafka, topic, records)
    await until_asked(runner, {value for _, value in records})
    await routers.until_flows(one, lambda f: f[flow_id].settled_total == len(records))
    assert len(runner.asked) == len(records)

    script.log.enable(flow_id, delivery=DeliverySettings(parallelism=1))
    script.tell()

    def one_is_left(flows: dict[str, FlowStatus]) -> bool:
        flow = flows[flow_id]
        return (flow.state, flow.instances, flow.partitions) == (RUNNING, 1, 2)

    await routers.until_flows(one, one_is_left)
    for worker in (one, two):
        health = await worker.health()
        assert health["flows"] in ({}, {"running": 1})


async def test_a_worker_with_200_flows_runs_all_of_them_within_10_s(
    routers: Routers, script: ScriptedRegistry, kafka: Kafka, runner: Runner
) -> None:
    topic, _ = await subscribed(script, kafka)
    names = [f"acme/a{number}" for number in range(MANY_FLOWS - 1)]
    for name in names:
        script.log.algorithm(name, "1.0.0")
    readers = [(name, ApiType.SUBSCRIBER) for name in ("acme/echo", *names)]
    script.log.set_access("cluster", topic, *readers)
    for name in names:
        script.log.enable(flow_id_of("cluster", topic, name, ApiType.SUBSCRIBER))
    script.tell()
    worker = routers.spawn("many", runner_url=runner.url)
    await worker.until_it_answers()
    await worker.until(lambda health: bool(health["member"]))
    began_s = time.monotonic()
    health = await worker.until(
        lambda health: health["flows"] == {"running": MANY_FLOWS}, timeout_s=MANY_TIMEOUT_S
    )
    assert time.monotonic() - began_s < MANY_START_MAX_S
    assert health["ready"]
