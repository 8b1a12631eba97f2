"""Carries one delivery through its attempts: invoke, judge, retry or bury."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final, TypeAlias

from catalog.events import GiveUp
from kernel.errors import EventflowsError, TooLarge

from router.application.served import Served
from router.application.status_board import StatusBoard
from router.application.work import Carried, Trial
from router.domain.dead_letter import Attempt, DeadLetter, dead_letter
from router.domain.delivery import NO_HEADERS, Delivery, Run
from router.domain.flow_spec import AlgorithmTargetSpec, FlowSpec
from router.domain.hops import HOPS_MAX, hops_of, loop_refusal
from router.domain.outcome import SUCCEEDED, Outcome, OutcomeKind, failed
from router.domain.pace import is_targets
from router.domain.published_record import run_told_of
from router.domain.redrive import is_answer
from router.domain.request_id import request_id
from router.domain.retry_policy import AWAY_LONGEST_S, Again, GivenUp, backoff_s, decide
from router.domain.trace_context import traceparent_of
from router.ports import Clock, DeadLetters, DeliveryTrace, Random, Target

REASON_CHARACTERS_MAX: Final = 500
"""Of an error that stands in a reason."""
LETTER_TOO_LARGE: Final = "dead_letter_too_large"
NOTED_CHARACTERS_MAX: Final = 200
"""Of what the registry's log keeps of a halt; the registry refuses more than 255."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Try again after so many seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Try again when a person says so; `reason` is a sentence for that person, `noted` what of it
    may be kept for ever."""

    whole_flow: bool
    reason: str
    noted: str


Verdict: TypeAlias = Rest | Halt | None
"""What becomes of a delivery after an attempt; None: its outcome is durable."""


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
        board: StatusBoard,
        served: Served,
    ) -> None:
        self._spec = spec
        self._runs_algorithm = isinstance(spec.target, AlgorithmTargetSpec)
        self._target = target
        self._dead_letters = dead_letters
        self._clock = clock
        self._random = random
        self._board = board
        self._served = served

    async def attempt(self, work: Carried) -> Verdict:
        """Try once. Cancelling leaves the work as it was before this attempt."""
        trial = work.trial
        if trial is None or trial.letter is None:
            began_s = self._clock.monotonic_s()
            if trial is None:
                work.began_s = began_s
            run = self._run(work)
            if isinstance(run, Run):
                if work.trace is None:
                    outcome = await self._target.invoke(run)
                else:
                    outcome = await self._traced(work.trace, run)
                self._board.durations.add(self._clock.monotonic_s() - began_s)
            else:
                outcome = run
            succeeded = outcome is SUCCEEDED or outcome.kind is OutcomeKind.SUCCEEDED
            if succeeded or is_answer(outcome):
                self._served.answered(began_s)
            if succeeded:
                self._board.delivered()
                return None
            verdict = self._judge(work, outcome)
            trial = work.trial
        if trial is None or trial.letter is None:
            return verdict
        return await self._bury(work.delivery, trial, trial.letter)

    async def _traced(self, trace: DeliveryTrace, run: Run) -> Outcome:
        """An attempt whose target is told below which step of the trace it works."""
        attempt = trace.run(run)
        outcome = None
        try:
            outcome = await self._target.invoke(run._replace(traceparent=attempt.traceparent))
        finally:
            attempt.ended(outcome)
        return outcome

    def _run(self, work: Carried) -> Run | Outcome:
        """The next attempt, or the outcome of one that needs no call."""
        delivery, trial = work.delivery, work.trial
        hops, traceparent, told, named = 0, "", "", NO_HEADERS
        if delivery.headers:
            named = dict(delivery.headers)  # the last of a repeated name counts
            hops, traceparent = hops_of(named), traceparent_of(named)
            if not self._runs_algorithm:
                told = run_told_of(named)
        if self._runs_algorithm:
            if hops >= HOPS_MAX:
                return loop_refusal(hops)
            hops += 1
        attempt = 1 if trial is None else trial.history.count + 1
        run_id = told or self._request_id(delivery)
        return Run(delivery, run_id, attempt, hops, traceparent, named)

    def _judge(self, work: Carried, outcome: Outcome) -> Verdict:
        """Note a failure and say what follows; what is given up has a letter in its trial then."""
        trial = work.trial or Trial()
        number, rule = self._spec.retries.fitting(outcome)
        attempt = trial.history.count + 1
        decision = decide(
            outcome,
            rule,
            fitted_count=trial.fitted[number] + 1,
            age_s=self._clock.monotonic_s() - work.began_s,
        )
        work.trial = trial
        trial.fitted[number] += 1
        trial.history.add(Attempt(attempt=attempt, at=self._clock.now(), outcome=outcome))
        match decision:
            case Again():
                self._board.retrying(outcome)
                jitter_s = self._random.uniform(0, decision.jitter_s)
                not_before_s = self._clock.monotonic_s() + decision.at_least_s
                trial.not_before_s = not_before_s if is_targets(outcome) else None
                return Rest(delay_s=decision.at_least_s + jitter_s)
            case GivenUp(how=GiveUp.HALT_KEY | GiveUp.HALT_FLOW):
                self._board.failed(outcome)
                return self._halt(work.delivery, outcome, decision.how)
            case GivenUp():
                self._board.failed(outcome)
                trial.letter = dead_letter(
                    self._spec,
                    work.delivery,
                    trial.history,
                    request_id=self._request_id(work.delivery),
                )
                return None

    def _halt(self, delivery: Delivery, outcome: Outcome, how: GiveUp) -> Halt:
        whole_flow = how is GiveUp.HALT_FLOW
        what = "the flow" if whole_flow else "a key"
        place = f"{delivery.topic}-{delivery.partition}@{delivery.offset}"
        _log.warning("flow %s: %s halts, %s: %s", self._spec.flow_id, what, place, outcome.word)
        error = outcome.error[:REASON_CHARACTERS_MAX]
        reason = f"{what} was halted at {place} until a resume: {outcome.word}: {error}"
        return Halt(whole_flow=whole_flow, reason=reason, noted=_noted(delivery, outcome))

    async def _bury(self, delivery: Delivery, trial: Trial, letter: DeadLetter) -> Verdict:
        """Write the dead letter; a failure to do so is tried again for ever (promise 7), but for
        one that only a person can mend."""
        try:
            await self._dead_letters.write(letter)
        except TooLarge as error:
            self._board.letter_refused()
            refused = failed(OutcomeKind.REFUSED, error.message, reason=LETTER_TOO_LARGE)
            return self._halt(delivery, refused, GiveUp.HALT_KEY)
        except EventflowsError as error:
            trial.letter_failures += 1
            self._board.not_dead_lettered(error.message)
            wait_s = backoff_s(trial.letter_failures, longest_s=AWAY_LONGEST_S)
            return Rest(delay_s=self._random.uniform(0, wait_s))
        self._board.dead_lettered()
        _log.warning(
            "flow %s: dead letter, %s-%d@%d: %s",
            self._spec.flow_id,
            delivery.topic,
            delivery.partition,
            delivery.offset,
            trial.history.newest[-1].outcome.word,
        )
        return None

    def _request_id(self, delivery: Delivery) -> str:
        spec = self._spec
        return request_id(delivery, flow_id=spec.flow_id, generation=spec.generation)


def _noted(delivery: Delivery, outcome: Outcome) -> str:
    """Where and how a flow was halted, on one line, without the message: that may quote a record.
    The topic is the flow's."""
    place = f"partition {delivery.partition}, offset {delivery.offset}"
    noted = f"halted by its own rule at {place}: {outcome.word} {outcome.error_type}".rstrip()
    return "".join(filter(str.isprintable, noted))[:NOTED_CHARACTERS_MAX]
