"""How far a task on dead letters is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProgress:
    """As the worker knows that carries it out. `state`: waiting (`reason` says why), working,
    cancelled or finished. `left` -1: not known."""

    task_id: str
    state: str
    reason: str = ""
    succeeded: int = 0
    failed: int = 0
    left: int = -1
    worker: str = ""
