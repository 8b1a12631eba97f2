"""The dead letter tasks of a worker: those of the flows whose first shard it owns.

A flow's tasks are carried out one after the other, in the order in which they were asked for, so
that no two of them ever hold the same letter. The price: a redrive that waits for a paused flow
makes a purge behind it wait too; cancelling it lets the next one go.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from catalog.records import DeadLetterTask, DeadLetterTaskKind, DeadLetterTaskState
from kernel.errors import EventflowsError, NotFound

from router.application.dead_letter_task import TaskRun
from router.application.limits import DRAIN_S
from router.application.plans import BlockedFlow, CatalogFeed, FlowPlans
from router.application.shards import shard_of
from router.application.task_figures import TaskTotals
from router.application.task_tools import TaskTools
from router.control_ports import Workers
from router.dead_letter_ports import TaskPeers
from router.domain.dead_letter_task import LEFT_UNKNOWN, TaskProgress
from router.domain.flow_spec import FlowSpec

TASKS_AT_ONCE_MAX: Final = 64
"""A slow redrive holds its place for hours, so there are many: what they hold has a limit together
(`LetterBytes`), and their calls are the worker's."""
STOP_SLACK_S: Final = 2.0
LOOK_S: Final = 0.5
"""How often time is looked at: shards come and go without a change of the catalog."""
FOLLOW_WAIT_S: Final = 1.0
"""A task that was asked for a moment ago may be on its way to our catalog; peers ask us for 2 s."""
FAILED_WAIT_S: Final = 10.0
BEHIND_ITS_FLOWS: Final = "an earlier task of its flow goes first"
NO_ROOM: Final = "waits for a place: its worker carries out {} other tasks"
NOT_OURS: Final = "this worker cannot tell that the flow is still its own"

_log = logging.getLogger(__name__)


class DeadLetterTasks:
    """A part of the worker. `progress` at any time, on every worker."""

    def __init__(
        self,
        *,
        worker_id: str,
        feed: CatalogFeed,
        is_complete: Callable[[], bool],
        owns: Callable[[str], bool],
        workers: Workers,
        peers: TaskPeers,
        tools: TaskTools,
    ) -> None:
        self._worker_id = worker_id
        self._feed = feed
        self._is_complete = is_complete
        self._owns = owns
        self._workers = workers
        self._peers = peers
        self._tools = tools
        self._stopping = False
        self._runs: dict[str, TaskRun] = {}
        self._working: dict[str, asyncio.Task[bool]] = {}

    async def run(self) -> None:
        """Start and stop tasks for ever. Raises what the feed raises."""
        changed = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow(changed), name="dead letter tasks follow")
                group.create_task(self._keep(changed), name="dead letter tasks are kept")
        finally:
            if working := list(self._working.values()):
                for task in working:
                    task.cancel()
                await asyncio.wait(working)

    async def stop(self) -> None:
        """Begin nothing more, and let what runs end within the drain bound. Harmless twice."""
        self._stopping = True
        for run in self._runs.values():
            run.stop()
        if self._working:
            await asyncio.wait(list(self._working.values()), timeout=DRAIN_S + STOP_SLACK_S)

    def totals(self) -> TaskTotals:
        """What was done here since the worker began, and how many tasks do what now."""
        states = Counter(self._runs[task_id].progress.state for task_id in self._working)
        return self._tools.figures.totals(states)

    def local(self, task_id: str) -> TaskProgress | None:
        """What this worker itself does for a task, or will do; None: nothing."""
        run = self._runs.get(task_id)
        progress = self._waiting(task_id) if run is None else run.progress
        return None if progress is None else replace(progress, worker=self._worker_id)

    async def progress(self, task_id: str) -> TaskProgress:
        """How far a task is, wherever it is carried out. Raises NotFound for one that the catalog
        does not know within FOLLOW_WAIT_S."""
        task = await self._known(task_id)
        if task.ended_time is not None:
            return _ended(task)
        return self.local(task_id) or await self._of_owner(task)

    def _waiting(self, task_id: str) -> TaskProgress | None:
        """Of a task that we shall carry out and have not begun with: behind what it waits."""
        catalog = self._feed.catalog
        task = catalog.dead_letter_task(task_id)
        if task is None or self._stopping or self._has_ended(task_id):
            return None
        if not self._is_complete() or not self._owns(task.flow_id):
            return None
        reason = ""
        if task not in self._next_of_flows().values() or task.flow_id in self._flows_at_work():
            reason = BEHIND_ITS_FLOWS
        elif not self._has_room(task, busy := self._busy()):
            reason = NO_ROOM.format(busy)
        return TaskProgress(task_id=task_id, state="waiting", reason=reason)

    async def _known(self, task_id: str) -> DeadLetterTask:
        task = self._feed.catalog.dead_letter_task(task_id)
        if task is not None:
            return task
        with suppress(TimeoutError):
            async with asyncio.timeout(FOLLOW_WAIT_S):
                async for _ in self._feed.changes():
                    task = self._feed.catalog.dead_letter_task(task_id)
                    if task is not None:
                        return task
        raise NotFound(f"There is no dead letter task {task_id}, or it ended long ago.")

    async def _of_owner(self, task: DeadLetterTask) -> TaskProgress:
        shard = shard_of(task.flow_id)
        reason = "no worker has taken it over yet"
        for worker in self._workers.others():
            if shard in worker.shards:
                try:
                    return await self._peers.dead_letter_task(worker, task.dead_letter_task_id)
                except EventflowsError:
                    reason = "its worker does not answer"
        return TaskProgress(task_id=task.dead_letter_task_id, state="waiting", reason=reason)

    async def _follow(self, changed: asyncio.Event) -> None:
        async for _ in self._feed.changes():
            changed.set()

    async def _keep(self, changed: asyncio.Event) -> None:
        while True:
            changed.clear()
            self._reconcile()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await changed.wait()

    def _reconcile(self) -> None:
        """Break off what is not wanted any more, stop what is not ours, start what is. Never
        waits."""
        if self._stopping:
            return
        wanted = self._next_of_flows() if self._is_complete() else {}
        chosen = {task.dead_letter_task_id for task in wanted.values()}
        for task_id, working in self._working.items():
            if task_id in chosen:
                continue
            if not self._has_ended(task_id):
                self._runs[task_id].stop()
            elif not working.cancelling():
                working.cancel()
        for task_id in [one for one in self._runs if one not in self._working]:
            if task_id not in chosen:
                del self._runs[task_id]
        self._start_next(
            [task for task in wanted.values() if task.dead_letter_task_id not in self._runs]
        )

    def _start_next(self, tasks: Sequence[DeadLetterTask]) -> None:
        """Start those that have room. One task of a flow at a time: one that was cancelled a moment
        ago may still end. Each flow is looked at once, since there may be many of them."""
        if not tasks:
            return
        at_work, busy = self._flows_at_work(), self._busy()
        for task in tasks:
            if task.flow_id not in at_work and self._has_room(task, busy):
                self._start(task)
                busy += not self._waits_for_flow(task)

    def _next_of_flows(self) -> dict[str, DeadLetterTask]:
        """Of each flow that is ours the task that was asked for first."""
        first: dict[str, DeadLetterTask] = {}
        for task in self._feed.catalog.open_dead_letter_tasks():
            if task.flow_id not in first and self._owns(task.flow_id):
                first[task.flow_id] = task
        return first

    def _has_ended(self, task_id: str) -> bool:
        """Says so the log, by its end or by having forgotten the task?"""
        task = self._feed.catalog.dead_letter_task(task_id)
        return task is None or task.ended_time is not None

    def _has_room(self, task: DeadLetterTask, busy: int) -> bool:
        """A redrive whose flow may not run takes no room: it would keep out the tasks of others."""
        return busy < TASKS_AT_ONCE_MAX or self._waits_for_flow(task)

    def _flows_at_work(self) -> frozenset[str]:
        return frozenset(self._runs[task_id].task.flow_id for task_id in self._working)

    def _busy(self) -> int:
        """How many tasks take room."""
        working = [self._runs[task_id].task for task_id in self._working]
        return sum(not self._waits_for_flow(task) for task in working)

    def _waits_for_flow(self, task: DeadLetterTask) -> bool:
        ready = self._tools.ready(task.flow_id)
        return task.kind is DeadLetterTaskKind.REDRIVE and isinstance(ready, str)

    def _start(self, task: DeadLetterTask) -> None:
        run = TaskRun(task, self._tools)
        task_id = task.dead_letter_task_id
        self._runs[task_id] = run
        working = asyncio.create_task(self._carry_out(run), name=f"dead letter task {task_id}")
        self._working[task_id] = working
        working.add_done_callback(lambda _: self._forget(task_id))

    async def _carry_out(self, run: TaskRun) -> bool:
        """Shall the run stay known? Yes, once the registry knows of its task's end."""
        try:
            return await run.run()
        except Exception:  # noqa: BLE001  one task's mistake must not end the others
            _log.exception("a dead letter task failed", extra={"flow_id": run.task.flow_id})
            await self._tools.clock.sleep(FAILED_WAIT_S)
            return False

    def _forget(self, task_id: str) -> None:
        """A run that ended stays known until the catalog says that its task did; with one that was
        stopped whoever owns the flow next goes on, be it this worker."""
        working = self._working.pop(task_id)
        if working.cancelled() or not working.result():
            self._runs.pop(task_id, None)


def readiness(
    plans: FlowPlans, feed: CatalogFeed, *, owns: Callable[[str], bool]
) -> Callable[[str], FlowSpec | str | None]:
    """By which spec a flow may be redriven now, or why it may not: `TaskTools.ready`.

    `owns` is the fence: a worker that was frozen or cut off must not go on beside its successor.
    """

    def ready(flow_id: str) -> FlowSpec | str | None:
        if not owns(flow_id):
            return NOT_OURS
        flow = feed.catalog.flow(flow_id)
        if flow is None:
            return None
        if flow.paused is not None:
            return "the flow is paused: resume it, or cancel the task"
        plan = plans.plan(flow_id)
        if plan is None:
            return "the flow is not enabled: enable it, or cancel the task"
        return f"the flow is blocked: {plan.reason}" if isinstance(plan, BlockedFlow) else plan

    return ready


def _ended(task: DeadLetterTask) -> TaskProgress:
    cancelled = task.state is DeadLetterTaskState.CANCELLED
    return TaskProgress(
        task_id=task.dead_letter_task_id,
        state="cancelled" if cancelled else "finished",
        reason=task.problem,
        succeeded=task.succeeded,
        failed=task.failed,
        left=LEFT_UNKNOWN if cancelled else 0,
    )
