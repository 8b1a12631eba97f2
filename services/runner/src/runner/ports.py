"""What the runner needs from the world. Only errors of `kernel.errors` leave these methods."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from catalog.catalog import Catalog
from catalog.records import Algorithm

from runner.domain.completion import Completion
from runner.domain.run import Carried, Execution, Payload


class Clock(Protocol):
    """Time as an argument."""

    def monotonic_s(self) -> float:
        """Seconds that never go back and never stand still, whatever happens to the process; only
        differences mean anything."""
        ...

    def now(self) -> datetime:
        """Aware UTC."""
        ...


class Configuration(Protocol):
    """The catalog that this process follows; `catalog.follow.CatalogFollower` is one."""

    @property
    def catalog(self) -> Catalog:
        """What is known so far; the same object for ever."""
        ...

    @property
    def caught_up(self) -> asyncio.Event:
        """Set once the whole log that was there at the start is known."""
        ...

    def staleness_s(self) -> float:
        """Seconds since the registry was last heard of; infinite before the first time."""
        ...

    async def wait_for(self, position: int, *, timeout_s: float) -> None:
        """Return once everything up to `position` is known. Raises TimedOut."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run for an executor. `commit_sha` names the build; `timeout_s` counts from its start."""

    algorithm: Algorithm
    commit_sha: str
    input: Payload
    timeout_s: float
    account_id: str
    request_id: str
    carried: Carried


class Executor(Protocol):
    """Runs jobs of one kind of source. Any number at the same time; keeps no order.

    Whatever the algorithm does is an Execution: errors, a crash (SystemExit), no answer in time
    (TimeoutError). Nothing is retried: a job starts at most once. Cancelling ends the run; its
    effects may have happened.
    """

    async def execute(self, job: Job) -> Execution:
        """Run it. Raises, without having run anything that matters to the caller's repeat:
        Overloaded (all busy), Unavailable (not built yet, or its other side is away)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """How a build ended. `commit_sha`: 40 hex digits, or what was asked for when it was not found.

    `log_tail` has at most 16 kB. Times are aware UTC.
    """

    succeeded: bool
    commit_sha: str
    log_tail: str
    started_at: datetime
    finished_at: datetime


class Builder(Protocol):
    """Builds algorithms of one kind of source. Repeating a finished build is cheap and harmless."""

    async def build(self, algorithm: Algorithm, commit_sha: str) -> BuildReport:
        """Build at a commit; empty: the newest of the default branch.

        A failing build is a report. Two calls for the same build share one; cancelling a call
        leaves the build running. Raises Overloaded when too many builds wait.
        """
        ...


class Completions(Protocol):
    """Our internal topics of completions. Any number of calls at the same time; each ends in a
    bounded time, however many wait while the other side is silent."""

    async def write(self, completion: Completion) -> None:
        """Return once it is durable. Repeats are possible, for readers, after an error.

        Raises Unavailable when it may or may not have been written; TooLarge.
        """
        ...

    async def prepare(self, algorithm_id: str) -> None:
        """See that the algorithm's topic exists, so that its followers can read it.

        Harmless when it does. Raises Unavailable.
        """
        ...


class RunObserver(Protocol):
    """Is told of every run; never raises."""

    def started(self) -> None:
        """A run was admitted."""
        ...

    def ended(self, outcome: str, duration_s: float) -> None:
        """It came to succeeded, algorithm_error, timed_out, or the class of the error, small."""
        ...

    def repeated(self, how: str) -> None:
        """A call began no run: `joined`, `remembered`, or `unwritten`: the completion of one
        that ended is written now."""
        ...

    def refused(self, why: str) -> None:
        """A call was refused before a run: the class of the error."""
        ...
