"""What a pump costs for each record, without its source and its client: µs of CPU.

    python -m tests.bench.engine_micro [--profile]

Run by hand, on a quiet machine. Records come from memory, a target answers at once or a turn of the
event loop later; the same records through a loop that only calls the target are taken off.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import uvloop
from router.adapters.memory_dead_letters import MemoryDeadLetters
from router.adapters.system_clock import SystemClock
from router.application.budget import WorkerBudget
from router.application.limits import PumpLimits
from router.application.pump import Pump
from router.domain.delivery import NO_HEADERS, Delivery, Headers, Run
from router.domain.flow_spec import FlowSpec
from router.domain.lag import Lag
from router.domain.low_water import Mark
from router.domain.outcome import SUCCEEDED, Outcome
from router.ports import AssignmentListener

from tests.support.router_flows import COMPLETION, PUBLISHER, SUBSCRIBER, KnownHistory

RECORDS = 100_000
PARTITIONS = 12
KEYS = 1_000
BATCH_RECORDS = 500
REPETITIONS = 5


class ListSource:
    """Port `Source` of records that are made beforehand."""

    def __init__(self, batches: Sequence[Sequence[Delivery]]) -> None:
        self._left = list(reversed(batches))
        self._paused: set[int] = set()
        self.marks: dict[int, Mark] = {}
        self.finished = asyncio.Event()

    async def open(self, listener: AssignmentListener) -> None:
        marks = {partition: Mark(position=0) for partition in range(PARTITIONS)}
        listener.on_assigned(marks, epoch=1)

    async def receive(self, *, wait_s: float, records_max: int) -> Sequence[Delivery]:
        if self._left and not self._paused:
            return self._left.pop()
        await asyncio.sleep(0.0005)
        return ()

    async def settle(self, marks: Mapping[int, Mark], *, epoch: int) -> int:
        self.marks |= marks
        return 0

    def pause(self, partitions: Iterable[int]) -> None:
        self._paused |= set(partitions)

    def resume(self, partitions: Iterable[int]) -> None:
        self._paused -= set(partitions)

    def holds(self, *, epoch: int) -> bool:
        return True

    async def lag(self, positions: Mapping[int, int]) -> Lag:
        return Lag(records=0, oldest_age_s=0.0, receivable=0)

    async def close(self) -> None:
        """Nothing is held."""


class CountingTarget:
    """Port `Target` that says when it has had all."""

    def __init__(self, *, later: bool) -> None:
        self._later = later
        self._left = RECORDS
        self.done = asyncio.Event()

    async def invoke(self, run: Run) -> Outcome:
        if self._later:
            loop = asyncio.get_running_loop()
            answer = loop.create_future()
            loop.call_soon(answer.set_result, None)
            await answer
        self._left -= 1
        if not self._left:
            self.done.set()
        return SUCCEEDED

    async def close(self) -> None:
        """Nothing is held."""


def _batches(headers: Headers) -> list[list[Delivery]]:
    chance = random.Random(7)
    offsets = [0] * PARTITIONS
    batches = []
    for number in range(RECORDS // BATCH_RECORDS):
        partition, batch = number % PARTITIONS, []
        for _ in range(BATCH_RECORDS):
            key = b"key-%d" % (chance.randrange(KEYS // PARTITIONS) * PARTITIONS + partition)
            offset = offsets[partition]
            offsets[partition] += 1
            batch.append(Delivery("topic", partition, offset, 1_000, key, bytes(200), 1, headers))
        batches.append(batch)
    return batches


async def _through_a_pump(
    target: CountingTarget, batches: Sequence[Sequence[Delivery]], spec: FlowSpec
) -> None:
    source = ListSource(batches)
    pump = Pump(
        spec,
        source=source,
        target=target,
        dead_letters=MemoryDeadLetters(),
        clock=SystemClock(),
        random=random.Random(7),
        limits=PumpLimits(),
        history=KnownHistory(),
        fence=lambda: True,
        budget=WorkerBudget(),
    )
    running = asyncio.create_task(pump.run())
    await target.done.wait()
    await pump.stop(grace_s=5)
    await running
    assert sum(mark.position for mark in source.marks.values()) == RECORDS


async def _bare(
    target: CountingTarget, batches: Sequence[Sequence[Delivery]], spec: FlowSpec
) -> None:
    """The same number of calls at once, and nothing else."""
    left = iter(
        [Run(delivery, "req", 1, 1, "", NO_HEADERS) for batch in batches for delivery in batch]
    )

    async def work() -> None:
        for run in left:
            await target.invoke(run)

    await asyncio.gather(*(work() for _ in range(spec.concurrency_max)))


Way = Callable[[CountingTarget, Sequence[Sequence[Delivery]], FlowSpec], Awaitable[None]]


def _cost_us(way: Way, spec: FlowSpec, *, later: bool) -> float:
    batches = _batches(COMPLETION if spec is PUBLISHER else ())

    async def measured() -> float:
        target = CountingTarget(later=later)
        before_s = time.process_time()
        await way(target, batches, spec)
        return time.process_time() - before_s

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measured()) / RECORDS * 1e6


def main() -> None:
    """Print what records and completions cost, with both targets."""
    if "--profile" in sys.argv:
        profile = cProfile.Profile()
        profile.runcall(_cost_us, _through_a_pump, PUBLISHER, later=True)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    for spec, what in ((SUBSCRIBER, "record"), (PUBLISHER, "completion")):
        for later in (False, True):
            pumps = [_cost_us(_through_a_pump, spec, later=later) for _ in range(REPETITIONS)]
            bare = statistics.median(_cost_us(_bare, spec, later=later) for _ in range(REPETITIONS))
            when = "a turn later" if later else "at once"
            pump = statistics.median(pumps)
            print(
                f"target answers {when}: {pump - bare:.1f} µs a {what}"
                f" ({pump:.1f}, {min(pumps):.1f} to {max(pumps):.1f}, of which {bare:.1f} target)"
            )


if __name__ == "__main__":
    main()
