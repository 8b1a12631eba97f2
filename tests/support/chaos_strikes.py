"""What the fault suite does to a world, one function a strike; each leaves it whole again."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from devstack import TcpProxy
from devstack.service import Service

from tests.support.chaos_report import Allowance
from tests.support.chaos_world import Wires, World, after

BACK_TIMEOUT_S = 120.0
BROKER_AWAY_S = 5.0
REGISTRY_AWAY_S = 10.0
RUNNER_AWAY_S = 2.0
FROZEN_S = 40.0
CUTS_S = (5.0, 15.0, 40.0)
OVERLOADED_S = 60.0
CLOCK_JUMP_S = 3_600.0
AWAY_S = 5.0
"""A worker leaves, and joins again after so long; so does the next strike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where a strike takes place."""

    world: World
    wires: Sequence[Wires]
    dice: random.Random
    kills_s: list[float] = field(default_factory=list)
    """When a worker was killed whose repeats are checked against the bound."""
    silences_s: list[float] = field(default_factory=list)
    """How long the customer's Kafka was away each time: nothing is sent meanwhile."""

    async def victim(self) -> Service:
        """The worker of one of the flows, so that every strike hits something."""
        wires = self.dice.choice(self.wires)
        flow_id = self.dice.choice([wires.subscriber, wires.publisher])
        index = await self.world.worker_of(flow_id, wires.algorithm)
        routers = self.world.cluster.routers
        running = [one for one in routers if one.process.running]
        return self.dice.choice(running) if index is None else routers[index]


Act = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """`every_s`: from the beginning of one to the beginning of the next, if it is over by then."""

    act: Act
    every_s: float
    allows: Allowance


async def kill_worker(scene: Scene) -> None:
    victim = await scene.victim()
    victim.kill()
    scene.kills_s.append(time.monotonic())
    await victim.start(timeout_s=BACK_TIMEOUT_S)


async def stop_worker(scene: Scene) -> None:
    victim = await scene.victim()
    await victim.stop()
    await victim.start(timeout_s=BACK_TIMEOUT_S)


async def leave_and_join(scene: Scene) -> None:
    joiner = scene.world.cluster.routers[-1]
    left_s = time.monotonic()
    await joiner.stop()
    await after(max(0.0, AWAY_S - (time.monotonic() - left_s)))
    await joiner.start(timeout_s=BACK_TIMEOUT_S)


async def kill_customers_kafka(scene: Scene) -> None:
    killed_s = time.monotonic()
    scene.world.customer.kill()
    await after(BROKER_AWAY_S)
    await scene.world.customer.restart()
    scene.silences_s.append(time.monotonic() - killed_s)


async def kill_internal_kafka(scene: Scene) -> None:
    scene.world.cluster.kafka.kill()
    await after(BROKER_AWAY_S)
    await scene.world.cluster.kafka.restart()


async def kill_registry_and_postgresql(scene: Scene) -> None:
    cluster = scene.world.cluster
    cluster.registry.kill()
    cluster.postgres.kill()
    await after(REGISTRY_AWAY_S)
    await cluster.postgres.restart()
    await cluster.registry.start(timeout_s=BACK_TIMEOUT_S)


async def kill_runner(scene: Scene) -> None:
    runner = scene.world.cluster.runner
    runner.kill()
    await after(RUNNER_AWAY_S)
    await runner.start(timeout_s=BACK_TIMEOUT_S)


async def freeze_worker(scene: Scene) -> None:
    victim = await scene.victim()
    victim.process.pause()
    await after(FROZEN_S)
    victim.process.resume()


async def cut_network(scene: Scene) -> None:
    proxy = scene.dice.choice([scene.world.to_customer, scene.world.to_runner])
    await _cut(proxy, scene.dice.choice(CUTS_S))


async def cut_customer_off_for_a_moment(scene: Scene) -> None:
    await _cut(scene.world.to_customer, min(CUTS_S))


async def _cut(proxy: TcpProxy, seconds: float) -> None:
    proxy.cut()
    await after(seconds)
    proxy.heal()


async def move_clock(scene: Scene) -> None:
    wrong_by_s = scene.dice.choice([-CLOCK_JUMP_S, CLOCK_JUMP_S, 0.0])
    beside = scene.world.clock_file.with_suffix(".new")
    beside.write_text(str(wrong_by_s))
    beside.rename(scene.world.clock_file)


async def overload_algorithm(scene: Scene) -> None:
    await scene.world.set_mode("overloaded")
    await after(OVERLOADED_S)
    await scene.world.set_mode("usual")


async def nothing(scene: Scene) -> None:
    """For the poison records, which are in the traffic."""


NONE = Allowance()
FEW = Allowance(share=0.001)
"""The runner lives, and knows most of what is sent to it again."""
IN_FLIGHT = Allowance(in_flight=True)
"""The runner is gone, and with it what it knew of the runs."""

STRIKES = {
    "kill": Strike(act=kill_worker, every_s=20, allows=FEW),
    "sigterm": Strike(act=stop_worker, every_s=20, allows=NONE),
    "join": Strike(act=leave_and_join, every_s=2 * AWAY_S, allows=NONE),
    "customers-kafka": Strike(act=kill_customers_kafka, every_s=30, allows=FEW),
    "internal-kafka": Strike(act=kill_internal_kafka, every_s=45, allows=FEW),
    "registry": Strike(act=kill_registry_and_postgresql, every_s=30, allows=NONE),
    "runner": Strike(act=kill_runner, every_s=20, allows=IN_FLIGHT),
    "freeze": Strike(act=freeze_worker, every_s=60, allows=FEW),
    "cut": Strike(act=cut_network, every_s=45, allows=FEW),
    "clock": Strike(act=move_clock, every_s=3, allows=NONE),
    "overloaded": Strike(act=overload_algorithm, every_s=90, allows=NONE),
    "poison": Strike(act=nothing, every_s=10, allows=FEW),
}
"""By the name that FAULT= asks for."""

RANDOM = "random"
"""All of them, one after the other in any order."""
