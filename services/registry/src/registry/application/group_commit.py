"""Group commit: all commands that wait go to the log in one call, one transaction, one flush.

Price: a command waits for the batch before it. Gain: many times the throughput of a lock per
command (measured: 6 to 16 times at 32 clients), and one slow disk flush is shared by all. Two calls
are under way at a time: while the database works on one batch, this process makes the next.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from kernel.backoff import delay_s
from kernel.errors import EventflowsError, Overloaded, TooLarge, Unavailable

from registry.application.append_queue import AppendQueue, Waiting
from registry.application.metrics import RegistryMetrics
from registry.ports.event_store import (
    APPENDS_AT_ONCE_MAX,
    BATCH_BYTES_MAX,
    COMMAND_BYTES_MAX,
    COMMANDS_PER_BATCH_MAX,
    EVENTS_PER_COMMAND_MAX,
    Append,
    EventStore,
    Outcome,
    Status,
)

WAITING_MAX = 4096
WAITING_BYTES_MAX = 64 * 1024 * 1024
SPLIT_FROM = 8
"""So many commands are worth two calls that overlap: the first takes half of them."""
OVERLOADED_RETRY_AFTER_S = 1.0
OUTAGE_MAX_S = 30.0
"""How long a command is kept while the log cannot be reached, from its arrival."""
BACKOFF_FIRST_S = 0.05
BACKOFF_LONGEST_S = 1.0

_log = logging.getLogger(__name__)


class GroupCommit:
    """The one writer of this process. `run` must be running for `append` to come back.

    `stored` is called with the newest position after each batch that stored something.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        metrics: RegistryMetrics,
        stored: Callable[[int], None],
        waiting_max: int = WAITING_MAX,
        calls_max: int = APPENDS_AT_ONCE_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._stored = stored
        self._waiting_max = waiting_max
        self._calls_max = calls_max
        self._clock = clock
        self._queue = AppendQueue()
        self._taken: set[Waiting] = set()
        self._calls = 0
        self._changed = asyncio.Event()
        self._closed = False
        metrics.waiting.set_function(lambda: len(self._queue))

    async def append(self, item: Append) -> Outcome:
        """Queue a command and wait for what became of it.

        Cancelling the wait does not take the command back: send it again to learn its outcome.
        Raises TooLarge and Overloaded (nothing was queued), Unavailable (it may or may not have
        been stored: send it again), InvalidInput (the log cannot take it).
        """
        size_bytes = _checked_size(item)
        if self._closed:
            raise Unavailable("the registry is stopping: send the command again")
        if (
            len(self._queue) >= self._waiting_max
            or self._queue.waiting_bytes + size_bytes > WAITING_BYTES_MAX
        ):
            raise Overloaded(
                "too many commands wait for the log: send it again later",
                retry_after_s=OVERLOADED_RETRY_AFTER_S,
            )
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.add(Waiting(item, size_bytes, outcome, self._clock() + OUTAGE_MAX_S))
        self._changed.set()
        try:
            return await outcome
        except asyncio.CancelledError:
            if outcome.done() and not outcome.cancelled():
                outcome.exception()  # nobody is left to hear of it
            raise

    async def run(self) -> None:
        """Append what waits, for ever. When it ends, every command that waits gets Unavailable."""
        try:
            async with asyncio.TaskGroup() as calls:
                for _ in range(self._calls_max):
                    calls.create_task(self._call_again_and_again())
        finally:
            self._closed = True
            ended = Unavailable("the registry stopped before the outcome was known: send it again")
            _fail([*self._taken, *self._queue.drain()], ended)

    async def _call_again_and_again(self) -> None:
        while True:
            batch = self._take()
            if not batch:
                self._changed.clear()
                await self._changed.wait()
                continue
            self._taken.update(batch)
            self._calls += 1
            await self._append(batch)  # cancelled: `run` fails what was taken
            self._calls -= 1
            self._taken.difference_update(batch)
            self._queue.finish(batch)
            self._changed.set()

    def _take(self) -> Sequence[Waiting]:
        """What goes into the next call: oldest first, half of many when no call is under way."""
        commands_max = COMMANDS_PER_BATCH_MAX
        if self._calls == 0 and self._calls_max > 1 and self._queue.ready >= SPLIT_FROM:
            commands_max = min(commands_max, (self._queue.ready + 1) // 2)
        return self._queue.take(commands_max=commands_max, bytes_max=BATCH_BYTES_MAX)

    async def _append(self, batch: Sequence[Waiting]) -> None:
        """One batch to its end. An unknown outcome is asked for again, with the same ids."""
        attempt = 0
        while batch:
            attempt += 1
            try:
                outcomes = await self._call(batch)
            except Unavailable as error:
                _log.warning(
                    "the log cannot be reached", extra={"attempt": attempt, "why": str(error)}
                )
                batch = self._not_expired(batch, error)
                await asyncio.sleep(_pause_s(attempt))
            except EventflowsError as error:
                if len(batch) == 1:
                    _log.error("the log refuses a command", extra={"why": str(error)})
                    return _fail(batch, error)
                for one in batch:
                    await self._append([one])
                return None
            else:
                return self._settle(batch, outcomes)
        return None

    async def _call(self, batch: Sequence[Waiting]) -> Sequence[Outcome]:
        started_s = self._clock()
        try:
            outcomes = await self._store.append([one.item for one in batch])
        except EventflowsError as error:
            self._metrics.append_failures.labels(type(error).__name__).inc()
            raise
        self._metrics.append_seconds.observe(self._clock() - started_s)
        self._metrics.batch_size.observe(len(batch))
        return outcomes

    def _settle(self, batch: Sequence[Waiting], outcomes: Sequence[Outcome]) -> None:
        for one, outcome in zip(batch, outcomes, strict=True):
            if not one.outcome.done():
                one.outcome.set_result(outcome)
        for status, count in Counter(outcome.status for outcome in outcomes).items():
            self._metrics.appends.labels(status.value).inc(count)
        stored = [one.position for one in outcomes if one.status is Status.STORED]
        if stored and (position := max(stored)):
            self._stored(position)

    def _not_expired(self, batch: Sequence[Waiting], error: Unavailable) -> Sequence[Waiting]:
        now_s = self._clock()
        _fail([one for one in batch if one.deadline_s <= now_s], error)
        return [one for one in batch if one.deadline_s > now_s]


def _checked_size(item: Append) -> int:
    size_bytes = item.size_bytes
    if len(item.events) > EVENTS_PER_COMMAND_MAX or size_bytes > COMMAND_BYTES_MAX:
        raise TooLarge(
            f"a command may store at most {EVENTS_PER_COMMAND_MAX} events "
            f"and {COMMAND_BYTES_MAX} bytes: make it smaller"
        )
    return size_bytes


def _fail(batch: Sequence[Waiting], error: EventflowsError) -> None:
    for one in batch:
        if not one.outcome.done():
            one.outcome.set_exception(error)


def _pause_s(attempt: int) -> float:
    return delay_s(
        attempt, first_s=BACKOFF_FIRST_S, longest_s=BACKOFF_LONGEST_S, random=random.random
    )
