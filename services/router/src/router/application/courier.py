"""Carries one delivery through its attempts: invoke, judge, retry or bury."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

from kernel.errors import EventflowsError

from router.application.limits import PumpLimits
from router.application.status_board import StatusBoard
from router.domain.dead_letter import Attempt, DeadLetter, History, dead_letter
from router.domain.delivery import Delivery, Run
from router.domain.flow_spec import AlgorithmTargetSpec, FlowSpec
from router.domain.hops import HOPS_MAX, hops_of, loop_refusal
from router.domain.outcome import Outcome, OutcomeKind
from router.domain.request_id import request_id
from router.domain.retry_policy import Again, GivenUp, Settle, backoff_s, decide
from router.domain.trace_context import traceparent_of
from router.ports import Clock, DeadLetters, Random, Target

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Work:
    """A delivery that is not done, with what its attempts came to."""

    delivery: Delivery
    history: History = field(default_factory=History)
    first_began_s: float | None = None
    fitted: Counter[int] = field(default_factory=Counter)
    letter: DeadLetter | None = None
    letter_failures: int = 0


class Courier:
    """Makes attempts for one flow; keeps nothing between them but what stands in the Work."""

    def __init__(
        self,
        spec: FlowSpec,
        *,
        target: Target,
        dead_letters: DeadLetters,
        clock: Clock,
        random: Random,
        limits: PumpLimits,
        board: StatusBoard,
    ) -> None:
        self._spec = spec
        self._target = target
        self._dead_letters = dead_letters
        self._clock = clock
        self._random = random
        self._limits = limits
        self._board = board

    async def attempt(self, work: Work) -> float | None:
        """Try once. None: the outcome is durable; else wait so many seconds and try again.

        Cancelling leaves the work as it was before this attempt.
        """
        if work.letter is None:
            outcome = await self._invoke(work)
            delay_s = self._judge(work, outcome)
            if work.letter is None:
                return delay_s
        return await self._bury(work, work.letter)

    async def _invoke(self, work: Work) -> Outcome:
        delivery = work.delivery
        hops = hops_of(delivery)
        if isinstance(self._spec.target, AlgorithmTargetSpec):
            if hops >= HOPS_MAX:
                return loop_refusal(hops)
            hops += 1
        if work.first_began_s is None:
            work.first_began_s = self._clock.monotonic_s()
        run = Run(
            delivery=delivery,
            request_id=self._request_id(delivery),
            attempt=work.history.count + 1,
            hops=hops,
            traceparent=traceparent_of(delivery),
        )
        return await self._target.invoke(run)

    def _judge(self, work: Work, outcome: Outcome) -> float | None:
        """Note the outcome; seconds to wait for the next attempt, None for none."""
        failure = Attempt(attempt=work.history.count + 1, at=self._clock.now(), outcome=outcome)
        age_s = self._clock.monotonic_s() - (work.first_began_s or self._clock.monotonic_s())
        if outcome.kind is OutcomeKind.SUCCEEDED:
            self._board.delivered()
            return None
        number, rule = self._spec.retries.fitting(outcome)
        work.fitted[number] += 1
        decision = decide(
            outcome,
            rule,
            attempt=failure.attempt,
            fitted_count=work.fitted[number],
            age_s=age_s,
        )
        match decision:
            case Settle():
                self._board.delivered()
                return None
            case Again():
                work.history.add(failure)
                self._board.retrying(outcome)
                return decision.at_least_s + self._random.uniform(0, decision.jitter_s)
            case GivenUp():
                self._board.failed(outcome)
                work.history.add(failure)
                work.letter = dead_letter(
                    self._spec,
                    work.delivery,
                    work.history,
                    request_id=self._request_id(work.delivery),
                )
                return None

    async def _bury(self, work: Work, letter: DeadLetter) -> float | None:
        """Write the dead letter; a failure to do so is tried again for ever (promise 7)."""
        try:
            await self._dead_letters.write(letter)
        except EventflowsError as error:
            work.letter_failures += 1
            self._board.not_dead_lettered(error.message)
            return self._random.uniform(0, backoff_s(work.letter_failures))
        self._board.dead_lettered()
        last = work.history.newest[-1].outcome
        _log.warning(
            "flow %s: dead letter, %s-%d@%d: %s",
            self._spec.flow_id,
            work.delivery.topic,
            work.delivery.partition,
            work.delivery.offset,
            last.word,
        )
        return None

    def _request_id(self, delivery: Delivery) -> str:
        spec = self._spec
        return request_id(delivery, flow_id=spec.flow_id, generation=spec.generation)
