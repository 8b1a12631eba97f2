"""One broker's fetches: one after the other, for as long as there is something to ask for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from aiokafka.errors import IncompatibleBrokerVersion, KafkaError
from kernel.errors import Unavailable

from router.adapters.kafka_errors import describe
from router.adapters.kafka_fetch_exchange import exchange
from router.adapters.kafka_fetch_session import FetchAnswer, FetchSession

ANSWER_TIMEOUT_S: Final = 15.0
"""On top of the wait at the broker."""

_log = logging.getLogger(__name__)


class FetchPlan(NamedTuple):
    """What to ask a broker: `wanted` says from where on, by partition. Or to ask nothing for
    `rest_s`, unless there is something new before."""

    wanted: Mapping[int, int]
    wait_ms: int
    rest_s: float = 0.0


class NodeFetches:
    """Fetches from one broker until it is cancelled.

    `plan` is asked before each fetch, `answered` is told of what came, in the step in which it
    came. A broker that cannot be asked is asked again after `retry_pause_s`.
    """

    def __init__(
        self,
        client: Any,
        node_id: int,
        *,
        session: FetchSession,
        plan: Callable[[int], FetchPlan],
        answered: Callable[[NodeFetches, FetchAnswer], None],
        retry_pause_s: float,
    ) -> None:
        self._node_id = node_id
        self.asked: Mapping[int, int] = {}
        """What the last answer is to: partitions, and from where on."""
        self.answered_s = 0.0
        self._client = client
        self._session = session
        self._plan = plan
        self._answered = answered
        self._retry_pause_s = retry_pause_s
        self._refusals = 0
        self._is_failing = False
        self._resting: asyncio.Future[None] | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    def look_again(self) -> None:
        """There may be something new to ask for."""
        if self._resting is not None and not self._resting.done():
            self._resting.set_result(None)

    def check(self) -> None:
        """Raise Unavailable if it has ended, which it does by no intention of its own."""
        if self._task.done():
            error = None if self._task.cancelled() else self._task.exception()
            why = f" ({describe(error)})" if isinstance(error, KafkaError) else ""
            raise Unavailable(f"the consumer's fetcher has ended{why}; it is made anew") from error

    def cancel(self) -> None:
        """Fetch nothing more, and tell of nothing more."""
        self._session.lost()
        self._task.cancel()

    async def _run(self) -> None:
        try:
            while True:
                await asyncio.sleep(0)  # what was fetched goes on its way first
                plan = self._plan(self._node_id)
                if plan.rest_s > 0:
                    await self._rest(plan.rest_s)
                elif not await self._ask(plan):
                    await asyncio.sleep(self._retry_pause_s)
        except Exception:
            _log.exception("the fetches from broker %s have ended", self._node_id)
            raise

    async def _ask(self, plan: FetchPlan) -> bool:
        """Did it go well?"""
        try:
            await exchange(
                self._client,
                self._node_id,
                lambda version: self._session.request(
                    plan.wanted, version=version, wait_ms=plan.wait_ms
                ),
                partial(self._on_answer, plan.wanted),
                timeout_s=ANSWER_TIMEOUT_S + plan.wait_ms / 1000,
            )
        except IncompatibleBrokerVersion:
            raise
        except (KafkaError, OSError) as error:
            self._session.lost()
            if not self._is_failing:
                self._is_failing = True
                _log.info("cannot fetch from broker %s: %r; it is tried on", self._node_id, error)
            return False
        return self._refusals <= 1  # once is how a broker forgets a session

    def _on_answer(self, wanted: Mapping[int, int], answer: FetchAnswer) -> None:
        self._session.answered(answer)
        if answer.error_code:
            self._refusals += 1
            return
        self._refusals = 0
        if self._is_failing:
            self._is_failing = False
            _log.info("fetches from broker %s again", self._node_id)
        self.asked = wanted
        self.answered_s = time.monotonic()
        self._answered(self, answer)

    async def _rest(self, rest_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._resting = loop.create_future()
        timer = loop.call_later(rest_s, self.look_again)
        try:
            await self._resting
        finally:
            self._resting = None
            timer.cancel()
