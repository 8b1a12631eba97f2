"""The use case `RunAlgorithm` over scripted ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from catalog.events import SourceKind
from catalog.identifiers import completions_topic
from runner.adapters.memory_completions import MemoryCompletions
from runner.application.run_algorithm import RunAlgorithm
from runner.domain.completion import Completion
from runner.domain.repeat_window import RepeatWindow
from runner.domain.run import ContentType, Execution, Payload, RunRequest
from runner.ports import Job

from tests.support.runner_catalog import CALLER, FedCatalog

COMMIT = "c" * 40
DONE = Execution(outcome=Payload(content_type=ContentType.JSON, data=b"1"), duration_s=0.1)


class ScriptedExecutor:
    """Does what the test says, and remembers the jobs."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.does: Callable[[Job], Execution] = lambda job: DONE
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def execute(self, job: Job) -> Execution:
        self.jobs.append(job)
        self.entered.set()
        await self.gate.wait()
        return self.does(job)


class FixedClock:
    def monotonic_s(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


class Notes:
    """Port `RunObserver`."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def started(self) -> None:
        self.heard.append("started")

    def ended(self, outcome: str, duration_s: float) -> None:
        self.heard.append(outcome)

    def repeated(self, how: str) -> None:
        self.heard.append(how)

    def refused(self, why: str) -> None:
        self.heard.append(f"refused: {why}")


class Stage:
    """The use case; `now_s` is the repeat window's time."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.registry = FedCatalog()
        self.executor, self.completions = ScriptedExecutor(), MemoryCompletions()
        self.notes = Notes()
        self.runs = RunAlgorithm(
            configuration=self.registry,
            executors={SourceKind.GIT: self.executor},
            completions=self.completions,
            window=RepeatWindow(lambda: self.now_s),
            observer=self.notes,
            clock=FixedClock(),
            stale_max_s=300.0,
        )
        self.algorithm_id = self.registry.add_algorithm("digits", "https://example.org/digits")
        self.registry.publish(self.algorithm_id, COMMIT)

    def request(self, **more: Any) -> RunRequest:
        given: dict[str, Any] = {
            "account_id": CALLER,
            "owner_name": "acme",
            "algorithm_name": "digits",
            "version": "1.0.0",
            "request_id": "r1",
            "repeatable": True,
            "input": Payload(content_type=ContentType.JSON, data=b"{}"),
            "timeout_s": 1.0,
        }
        return RunRequest(**{**given, **more})

    def lose_completions(self, job: Job) -> Execution:
        """What the executor does when our Kafka goes away while the run goes on."""
        self.completions.reachable = False
        return DONE

    @property
    def written(self) -> list[Completion]:
        return self.completions.topics.get(completions_topic(self.algorithm_id), [])
