"""Runs that nobody waits for (`output=void`): a bounded number, and each leaves its completion."""

from __future__ import annotations

import asyncio
import logging

from kernel.errors import EventflowsError, Overloaded

from runner.application.run_algorithm import RunAlgorithm
from runner.domain.limits import BACKGROUND_RUNS_MAX, OVERLOAD_RETRY_AFTER_S
from runner.domain.run import RunRequest
from runner.domain.sessions import Session

_log = logging.getLogger(__name__)


class BackgroundRuns:
    """Accepts runs. They live in memory: a runner that dies loses them, as Algorithmia's did."""

    def __init__(self, runs: RunAlgorithm, *, running_max: int = BACKGROUND_RUNS_MAX) -> None:
        self._runs, self._max = runs, running_max
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, request: RunRequest, session: Session) -> None:
        """Start the run; the session is closed at its end. Raises Overloaded, Unavailable."""
        self._runs.require_ready()
        if len(self._tasks) >= self._max:
            raise Overloaded(
                f"{self._max} runs without a waiting caller are in progress: try again later.",
                retry_after_s=OVERLOAD_RETRY_AFTER_S,
            )
        task = asyncio.create_task(self._run(request, session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for what was accepted; `RunAlgorithm.close` bounds it."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, request: RunRequest, session: Session) -> None:
        try:
            await self._runs.run(request)
        except EventflowsError as error:
            _log.warning(
                "a run without a waiting caller was refused",
                extra={"request_id": request.request_id, "reason": error.message},
            )
        except Exception:  # noqa: BLE001  nobody else sees it
            _log.exception(
                "a run without a waiting caller failed in the runner itself",
                extra={"request_id": request.request_id},
            )
        finally:
            session.close()
