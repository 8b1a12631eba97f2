"""What the dead letter tasks of a worker work with; one for all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from router.application.letter_bytes import LetterBytes
from router.application.redelivery import Redelivery
from router.application.task_figures import TaskFigures
from router.dead_letter_ports import LetterFold, LetterMarks, LetterQueries, LetterTopic, TaskEnds
from router.domain.flow_spec import FlowSpec
from router.ports import Clock, Random

OpenRedelivery = Callable[[FlowSpec], Awaitable[Redelivery]]
"""Raises NotFound, Unavailable, TimedOut while a connection cannot be resolved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTools:
    """What every task of a worker works with.

    `ready` gives the spec by which a flow may be redriven now, or a sentence why it may not; None
    for a flow that is gone. `own_topic` names the flow's own dead letter topic; empty: it has none.
    `open_own` gives its name and itself, which the caller closes. `topic_of` gives the internal
    topic to the task of this id, by a connection that it shares with some of the others.
    """

    index: LetterQueries
    fold: LetterFold
    topic_of: Callable[[str], LetterTopic]
    marks: LetterMarks
    ends: TaskEnds
    ready: Callable[[str], FlowSpec | str | None]
    own_topic: Callable[[str], str]
    open_own: Callable[[str], tuple[str, LetterTopic]]
    open_redelivery: OpenRedelivery
    figures: TaskFigures
    held: LetterBytes
    clock: Clock
    random: Random
