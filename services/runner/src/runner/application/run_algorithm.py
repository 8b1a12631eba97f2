"""One call: resolve the version, run it once, make its completion durable, then answer.

    fresh catalog ▶ version ▶ repeat window ▶ executor ▶ completion ▶ remember ▶ answer

A run belongs to the runner, not to the call: it goes on when the caller is gone, so that whoever
asks again joins it or gets its answer. Price: nobody can cancel a run but its timeout.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import TypeAlias

from catalog.events import SourceKind
from catalog.records import Algorithm
from catalog.versions import ResolvedVersion, resolve_version
from kernel.errors import EventflowsError, NotFound, Unavailable

from runner.domain.completion import Completion, completion_of
from runner.domain.repeat_window import (
    InProgress,
    Remembered,
    RepeatWindow,
    RunKey,
    Unwritten,
)
from runner.domain.run import (
    Execution,
    Payload,
    RunAnswer,
    RunRequest,
)
from runner.ports import Clock, Completions, Configuration, Executor, Job, RunObserver

Held: TypeAlias = Unwritten[Execution, Completion]
Window: TypeAlias = RepeatWindow[asyncio.Task[Execution], Execution, Completion]

ALGORITHM_NOT_FOUND = 1000
"""`algorithmia-api.md` 3.3."""
POSITION_WAIT_MAX_S = 5.0
"""How long a run waits for our catalog to know what its caller knows."""
OPEN_SOURCE = "open"
"""Value of `source_visibility` that lets every caller see stack traces."""


class RunAlgorithm:
    """The use case. `executors`: one for each kind of source that this runner can run."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        executors: Mapping[SourceKind, Executor],
        completions: Completions,
        window: Window,
        observer: RunObserver,
        clock: Clock,
        stale_max_s: float,
    ) -> None:
        self._configuration = configuration
        self._executors = executors
        self._completions = completions
        self._window = window
        self._observer = observer
        self._clock = clock
        self._stale_max_s = stale_max_s
        self._tasks: set[asyncio.Task[Execution]] = set()
        self._stopping = False

    def require_ready(self) -> None:
        """Raises Unavailable while the catalog is too old to run by, and when stopping."""
        if self._stopping:
            raise Unavailable("This runner is stopping: try again.")
        if not self._configuration.caught_up.is_set():
            raise Unavailable("The catalog has not caught up with the registry's log yet.")
        age_s = self._configuration.staleness_s()
        if age_s > self._stale_max_s:
            raise Unavailable(
                f"The registry has not been heard of for more than {self._stale_max_s:g} seconds, "
                "so this runner does not know what may run: try again later."
            )

    async def run(self, request: RunRequest) -> RunAnswer:
        """Run, or join or repeat the run of the same request id.

        Raises NotFound and InvalidInput (version, request id), Overloaded, Unavailable (also when
        the completion could not be written), TooLarge.
        """
        try:
            self.require_ready()
            # A version that we have not heard of yet is no reason to say that there is none: the
            # router would take the record for hopeless.
            if self._configuration.catalog.position < request.position:
                await self._configuration.wait_for(request.position, timeout_s=POSITION_WAIT_MAX_S)
            algorithm, version = self._resolve(request)
            execution = await self._once(request, algorithm, version)
        except EventflowsError as error:
            self._observer.refused(type(error).__name__)
            raise
        owns = request.account_id == algorithm.owner_id
        return RunAnswer(
            execution=execution,
            request_id=request.request_id,
            for_author=owns or algorithm.source_visibility == OPEN_SOURCE,
            for_owner=owns,
        )

    async def close(self, *, grace_s: float) -> None:
        """Take no more runs, wait for those in progress up to the grace, then end them."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _resolve(self, request: RunRequest) -> tuple[Algorithm, ResolvedVersion]:
        found = self._configuration.catalog.algorithm_named(
            request.owner_name, request.algorithm_name
        )
        if found is None:
            raise NotFound(
                f"algorithm algo://{request.owner_name}/{request.algorithm_name} not found",
                code=ALGORITHM_NOT_FOUND,
            )
        owns = request.account_id == found.owner_id
        return found, resolve_version(found, request.version, caller_owns=owns)

    async def _once(
        self, request: RunRequest, algorithm: Algorithm, version: ResolvedVersion
    ) -> Execution:
        if not request.repeatable:
            return await _outlived(self._begin(request, algorithm, version, None, None))
        key = RunKey(
            account_id=request.account_id,
            request_id=request.request_id,
            algorithm_id=algorithm.algorithm_id,
            commit_sha=version.commit_sha,
            mode=request.mode,
        )
        digest = _digest(request.input)
        known = self._window.look(key, digest)
        if isinstance(known, Remembered):
            self._observer.repeated("remembered")
            return known.answer
        if isinstance(known, InProgress):
            self._observer.repeated("joined")
            return await _outlived(known.run)
        if isinstance(known, Unwritten):
            self._observer.repeated("unwritten")
        task = self._begin(request, algorithm, version, key, known)
        self._window.start(key, digest, task)
        return await _outlived(task)

    def _begin(
        self,
        request: RunRequest,
        algorithm: Algorithm,
        version: ResolvedVersion,
        key: RunKey | None,
        held: Held | None,
    ) -> asyncio.Task[Execution]:
        task = asyncio.create_task(self._run(request, algorithm, version, key, held))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Execution]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked has it; nobody asked when the caller is gone

    async def _run(
        self,
        request: RunRequest,
        algorithm: Algorithm,
        version: ResolvedVersion,
        key: RunKey | None,
        held: Held | None,
    ) -> Execution:
        """`held`: what it came to when only its completion is still to be written."""
        started_s = self._clock.monotonic_s()
        outcome = "cancelled"
        self._observer.started()
        try:
            if held is None:
                execution, completion = await self._make(request, algorithm, version)
            else:
                execution, completion = held.answer, held.completion
            outcome = _word(execution)
            if completion is not None:
                await self._leave(completion, key, execution)
            self._remember(key, execution, unwritten=None)
            return execution
        except EventflowsError as error:
            outcome = type(error).__name__.lower()
            raise
        finally:
            if key is not None:
                self._window.give_up(key)
            self._observer.ended(outcome, self._clock.monotonic_s() - started_s)

    async def _make(
        self, request: RunRequest, algorithm: Algorithm, version: ResolvedVersion
    ) -> tuple[Execution, Completion | None]:
        """Run it: what it came to, and the completion that it leaves, if any."""
        # Decided once for a run, in one moment with the position, however late the completion is
        # written: the router judges by this position (ADR 0004).
        catalog = self._configuration.catalog
        position = catalog.position
        is_followed = request.live and catalog.is_followed(algorithm.algorithm_id)
        if is_followed:
            # So that nothing runs in vain while Kafka is known to be away.
            await self._completions.prepare(algorithm.algorithm_id)
        execution = await self._execute(request, algorithm, version)
        if not is_followed:
            return execution, None
        return execution, completion_of(
            request,
            execution,
            algorithm_id=algorithm.algorithm_id,
            version=version.version or version.commit_sha,
            position=position,
        )

    async def _leave(
        self, completion: Completion, key: RunKey | None, execution: Execution
    ) -> None:
        """Before anybody hears of the run."""
        try:
            await self._completions.write(completion)
        except Unavailable:
            self._remember(key, execution, unwritten=completion)
            raise

    def _remember(
        self, key: RunKey | None, execution: Execution, *, unwritten: Completion | None
    ) -> None:
        """Successes only: whoever repeats a failed run wants another attempt."""
        if key is None or not isinstance(execution.outcome, Payload):
            return
        size_bytes = len(execution.outcome.data) + len(execution.stdout)
        if unwritten is not None:
            size_bytes += len(unwritten.key)  # its value is the outcome's data
        self._window.succeed(key, execution, size_bytes=size_bytes, unwritten=unwritten)

    async def _execute(
        self, request: RunRequest, algorithm: Algorithm, version: ResolvedVersion
    ) -> Execution:
        executor = self._executors.get(algorithm.source_kind)
        if executor is None:
            # Another runner may: a newer one, while the cluster is being upgraded.
            raise Unavailable(
                f"this runner cannot run sources of kind {algorithm.source_kind.name}"
            )
        return await executor.execute(
            Job(
                algorithm=algorithm,
                commit_sha=version.commit_sha,
                input=request.input,
                timeout_s=request.timeout_s,
                account_id=request.account_id,
                request_id=request.request_id,
                carried=request.carried,
            )
        )


async def _outlived(task: asyncio.Task[Execution]) -> Execution:
    """The run's result; cancelling the caller leaves the run alone."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():
            raise Unavailable("This runner stopped before the run ended: try again.") from None
        raise


def _digest(payload: Payload) -> bytes:
    return hashlib.sha256(payload.content_type.encode() + b"\0" + payload.data).digest()


def _word(execution: Execution) -> str:
    """The outcome's word, as metrics have it."""
    if isinstance(execution.outcome, Payload):
        return "succeeded"
    return "timed_out" if execution.outcome.timed_out else "algorithm_error"
