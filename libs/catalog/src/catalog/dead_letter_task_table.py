"""Dead letter tasks: those that go on, and those that ended last.

    no task ──requested──▶ open ──cancelled, finished──▶ ended ──many others ended──▶ no task

The log never forgets a task; this table keeps the newest ENDED_TASKS_KEPT_MAX of the ended ones,
since they come for as long as a cluster lives. The open ones are bounded by the command that asks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from sys import intern
from typing import Self

from catalog import events
from catalog.events import RecordedEvent
from catalog.flow_index import FlowGroups
from catalog.records import (
    ENDED_TASKS_KEPT_MAX,
    DeadLetterTask,
    DeadLetterTaskKind,
    DeadLetterTaskState,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterTaskImage:
    """All that the table holds. `ended` has ids, the one that ended first first."""

    tasks: dict[str, DeadLetterTask]
    ended: tuple[str, ...]


class DeadLetterTaskTable:
    """Tasks by id and by flow. What the log says of an unknown task changes nothing, and neither
    does a second beginning or end."""

    def __init__(self) -> None:
        self._tasks: dict[str, DeadLetterTask] = {}
        self._open: dict[str, None] = {}
        self._ended: dict[str, None] = {}
        self._of_flow: FlowGroups[str] = FlowGroups()

    @classmethod
    def of(cls, image: DeadLetterTaskImage) -> Self:
        """The table that had this image. The image must not be used any more."""
        table = cls()
        table._tasks = image.tasks
        table._ended = dict.fromkeys(image.ended)
        table._open = dict.fromkeys(one for one in image.tasks if one not in table._ended)
        for task in image.tasks.values():
            table._of_flow.join(task.flow_id, task.dead_letter_task_id)
        return table

    def image(self) -> DeadLetterTaskImage:
        """A copy that later events do not change."""
        return DeadLetterTaskImage(tasks=self._tasks.copy(), ended=tuple(self._ended))

    def get(self, dead_letter_task_id: str) -> DeadLetterTask | None:
        """The task, or None."""
        return self._tasks.get(dead_letter_task_id)

    def all(self) -> tuple[DeadLetterTask, ...]:
        """In the order in which they were asked for."""
        return tuple(self._tasks.values())

    def of_flow(self, flow_id: str) -> tuple[DeadLetterTask, ...]:
        """The flow's, in the same order."""
        return tuple(self._tasks[task_id] for task_id in self._of_flow.members(flow_id))

    def open(self) -> tuple[DeadLetterTask, ...]:
        """Those that go on, in the same order."""
        return tuple(self._tasks[task_id] for task_id in self._open)

    def forgotten_next(self) -> DeadLetterTask | None:
        """The one that goes when another one ends; None while there is room."""
        if len(self._ended) < ENDED_TASKS_KEPT_MAX:
            return None
        return self._tasks[next(iter(self._ended))]

    def redrive_requested(self, recorded: RecordedEvent, event: events.RedriveRequested) -> None:
        """Dead letters shall be sent again."""
        self._put(
            DeadLetterTask(
                dead_letter_task_id=event.dead_letter_task_id,
                kind=DeadLetterTaskKind.REDRIVE,
                flow_id=intern(event.flow_id),
                selection=event.selection,
                algorithm_version=intern(event.algorithm_version),
                rate_per_s=event.rate_per_s,
                own_topic=event.own_topic,
                requested_time=recorded.time,
                requested_position=recorded.position,
                position=recorded.position,
                stream_version=recorded.version,
            )
        )

    def purge_requested(self, recorded: RecordedEvent, event: events.PurgeRequested) -> None:
        """Dead letters shall be forgotten."""
        self._put(
            DeadLetterTask(
                dead_letter_task_id=event.dead_letter_task_id,
                kind=DeadLetterTaskKind.PURGE,
                flow_id=intern(event.flow_id),
                selection=event.selection,
                requested_time=recorded.time,
                requested_position=recorded.position,
                position=recorded.position,
                stream_version=recorded.version,
            )
        )

    def cancelled(self, recorded: RecordedEvent, event: events.DeadLetterTaskCancelled) -> None:
        """Nothing more shall be done."""
        task = self._tasks.get(event.dead_letter_task_id)
        if task is not None and task.ended_time is None:
            self._end(
                replace(
                    task,
                    state=DeadLetterTaskState.CANCELLED,
                    ended_time=recorded.time,
                    position=recorded.position,
                    stream_version=recorded.version,
                )
            )

    def finished(self, recorded: RecordedEvent, event: events.DeadLetterTaskFinished) -> None:
        """Nothing more is done, and this came of it."""
        task = self._tasks.get(event.dead_letter_task_id)
        if task is not None and task.ended_time is None:
            self._end(
                replace(
                    task,
                    state=DeadLetterTaskState.FINISHED,
                    succeeded=event.succeeded,
                    failed=event.failed,
                    problem=event.problem,
                    ended_time=recorded.time,
                    position=recorded.position,
                    stream_version=recorded.version,
                )
            )

    def _put(self, task: DeadLetterTask) -> None:
        if task.dead_letter_task_id in self._tasks:
            return
        self._tasks[task.dead_letter_task_id] = task
        self._open[task.dead_letter_task_id] = None
        self._of_flow.join(task.flow_id, task.dead_letter_task_id)

    def _end(self, task: DeadLetterTask) -> None:
        forgotten = self.forgotten_next()
        if forgotten is not None:
            del self._ended[forgotten.dead_letter_task_id]
            del self._tasks[forgotten.dead_letter_task_id]
            self._of_flow.leave(forgotten.flow_id, forgotten.dead_letter_task_id)
        del self._open[task.dead_letter_task_id]
        self._ended[task.dead_letter_task_id] = None
        self._tasks[task.dead_letter_task_id] = task
