"""Runs ADK algorithms: a pool of warm processes a version, within one budget for the runner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kernel.errors import Unavailable

from runner.adapters.adk_pool import AdkPool
from runner.adapters.adk_process import AdkProcess, AdkProgram, NotLoaded
from runner.adapters.child_process import ChildLimits
from runner.domain.run import Execution
from runner.ports import Job

QUEUE_WAIT_MAX_S: Final = 10.0
"""How long a call waits for a busy process before it is asked to come back."""
TICK_S: Final = 1.0
VERSION_IDLE_FACTOR: Final = 12
"""The last process of a version stays this many times longer than the others."""
CPU_WORN_SHARE: Final = 0.5
"""Of the limit of processor time: a process above it is replaced between two requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdkSettings:
    """How many processes, and what each may use. `homes`: folder for their private folders."""

    homes: Path
    limits: ChildLimits
    processes_per_version_max: int
    processes_max: int
    process_idle_s: float
    load_timeout_s: float


class AdkExecutor:
    """An `Executor` for sources of kind git. `find` gives the built program, or raises Unavailable.

    `keep` must run beside it: it stops idle and worn processes. `close` stops all.
    """

    def __init__(self, settings: AdkSettings, find: Callable[[Job], Awaitable[AdkProgram]]) -> None:
        self._settings, self._find = settings, find
        self._pools: dict[tuple[str, str], AdkPool] = {}
        self._closed = False

    @property
    def processes(self) -> int:
        """Processes that run or are being started."""
        return sum(pool.size for pool in self._pools.values())

    def builds_in_use(self) -> set[tuple[str, str]]:
        """Algorithm id and commit of every build that has processes, or had some a moment ago."""
        return set(self._pools)

    async def execute(self, job: Job) -> Execution:
        """See `ports.Executor`. Time spent waiting for a process or loading is not the run's."""
        program = await self._find(job)
        pool = self._pool(job, program)
        load_s = self._settings.load_timeout_s
        wait_s = min(job.timeout_s, QUEUE_WAIT_MAX_S) if pool.warm else load_s + QUEUE_WAIT_MAX_S
        started_s = time.monotonic()
        try:
            process = await pool.acquire(wait_s=wait_s)
        except NotLoaded as error:
            return Execution(
                outcome=error.error,
                duration_s=time.monotonic() - started_s,
                stdout=error.output,
            )
        try:
            return await process.run(job.input, timeout_s=job.timeout_s)
        finally:
            pool.release(process)

    async def keep(self) -> None:
        """Look after the processes, for ever."""
        while True:
            await asyncio.sleep(TICK_S)
            self._tick()

    async def close(self) -> None:
        """Stop all processes. Harmless twice."""
        self._closed = True
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))
        self._pools.clear()

    def _tick(self) -> None:
        now_s, idle_s = time.monotonic(), self._settings.process_idle_s
        cpu_max_s = self._settings.limits.cpu_s
        for key, pool in list(self._pools.items()):
            if cpu_max_s is not None:
                pool.retire_worn(cpu_s=cpu_max_s * CPU_WORN_SHARE)
            pool.drop_idle(idle_s=idle_s, keep=1)
            pool.drop_idle(idle_s=idle_s * VERSION_IDLE_FACTOR, keep=0)
            if pool.unused and now_s - pool.last_used_s > idle_s:
                del self._pools[key]

    def _pool(self, job: Job, program: AdkProgram) -> AdkPool:
        if self._closed:
            raise Unavailable("This runner is stopping: try again.")
        key = (job.algorithm.algorithm_id, job.commit_sha)
        pool = self._pools.get(key)
        if pool is None:
            settings = self._settings

            def start() -> Awaitable[AdkProcess]:
                return AdkProcess.start(
                    program,
                    homes=settings.homes,
                    limits=settings.limits,
                    load_timeout_s=settings.load_timeout_s,
                )

            pool = self._pools[key] = AdkPool(
                start,
                processes_max=settings.processes_per_version_max,
                may_start=self._may_start,
                on_freed=self._on_freed,
            )
        return pool

    def _may_start(self) -> bool:
        """Is there room for one more? If not, the version unused longest gives an idle one away."""
        if self.processes < self._settings.processes_max:
            return True
        for pool in sorted(self._pools.values(), key=lambda pool: pool.last_used_s):
            if pool.give_one():
                return True
        return False

    def _on_freed(self) -> None:
        for pool in self._pools.values():
            pool.grow()
