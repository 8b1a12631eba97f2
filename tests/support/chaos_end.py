"""The end of a run of the fault suite: who commits the last record, when, and what it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import ClientError
from aiokafka.errors import KafkaError
from devstack import Kafka
from devstack.rest import RestRefused

from examples.demo import steps
from tests.support.chaos_world import Wires, World
from tests.support.checker_reads import uncommitted

GROUP_PREFIX = "eventflows"
END_TIMEOUT_S = 240.0
END_LOOK_S = 0.5
END_TELL_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """`records_left` behind the committed positions when all was over or the time was up, `took_s`
    until then; `last` is the flow that was the last one, with its lag and its own words."""

    records_left: int
    took_s: float
    last: str


async def until_the_end(world: World, wires: Sequence[Wires]) -> Tail:
    """Wait until every group has committed the end of its topic, or the time is up."""
    began_s = time.monotonic()
    said: list[str] = []
    lefts = await asyncio.gather(*[_until_committed(world, one, began_s, said) for one in wires])
    return Tail(
        records_left=sum(lefts),
        took_s=time.monotonic() - began_s,
        last=said[-1] if said else "",
    )


async def _until_committed(world: World, wires: Wires, began_s: float, said: list[str]) -> int:
    """The flow to the algorithm first: after it no completion comes any more."""
    completions = await world.completions_topic(wires)
    flows = (
        ("subscriber", wires.subscriber, world.customer, wires.source),
        ("publisher", wires.publisher, world.cluster.kafka, completions),
    )
    left = 0
    for kind, flow_id, kafka, topic in flows:
        tell_s = began_s + END_TELL_S
        while left := await _uncommitted(kafka, topic, flow_id):
            now_s = time.monotonic()
            words = f"{wires.algorithm} {kind}, {left} left: {await _state(world, wires, flow_id)}"
            said.append(f"{words} (after {now_s - began_s:.0f} s)")
            if now_s >= tell_s:
                tell_s += END_TELL_S
                print(f"  {said[-1]}", flush=True)
            if now_s > began_s + END_TIMEOUT_S:
                return left
            await asyncio.sleep(END_LOOK_S)
    return left


async def _uncommitted(kafka: Kafka, topic: str, flow_id: str) -> int:
    """A broker that does not answer is asked again."""
    try:
        return await uncommitted(kafka, topic, group=f"{GROUP_PREFIX}-{flow_id}")
    except KafkaError:
        return 1


async def _state(world: World, wires: Wires, flow_id: str) -> str:
    try:
        flows = await steps.flows_of(world.owner, wires.algorithm)
    except (ClientError, RestRefused, TimeoutError) as error:
        return f"nobody tells: {error!r}"
    flow = next((each for each in flows if each["id"] == flow_id), {})
    live = flow.get("live") or {}
    figures = ("in_flight", "error_ratio", "retries_total", "oldest_unsettled_s")
    words = [flow.get("state"), flow.get("reason"), *[f"{one} {live.get(one)}" for one in figures]]
    return ", ".join(str(word) for word in words if word)
