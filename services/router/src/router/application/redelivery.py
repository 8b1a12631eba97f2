"""Sends deliveries of one flow through its target again, by the same courier as live ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from kernel.errors import EventflowsError, TooLarge, Unavailable

from router.application.budget import WorkerBudget
from router.application.calls_in_turn import CallsInTurn
from router.application.courier import Courier, Rest, Verdict
from router.application.run_durations import RunDurations
from router.application.served import Served
from router.application.status_board import StatusBoard
from router.application.task_figures import TaskFigures
from router.application.work import Carried, Trial
from router.domain.dead_letter import DeadLetter, died_in
from router.domain.delivery import Delivery, Run
from router.domain.flow_spec import FlowSpec, same_flow
from router.domain.outcome import Outcome
from router.domain.redrive import Suspicion, is_letters, with_an_end
from router.ports import Clock, DeadLetters, DeliveryTrace, Random, Target

TROUBLE: Final = "the target is in trouble, and no letter is given up for that: {}: {}"
UNWRITTEN: Final = "what died again cannot be written as a letter: {}"
ERROR_CHARACTERS_MAX: Final = 200


class Outdated(Exception):
    """The flow has another spec now, and nothing more is tried by this one."""


class AttemptGate(Protocol):
    """Asked before each attempt; what it raises ends the delivery and leaves it as it was."""

    async def until_open(self) -> FlowSpec:
        """The spec by which an attempt may begin now, once one may."""
        ...

    def is_open(self) -> bool:
        """May it begin now?"""
        ...

    def spec_now(self) -> FlowSpec | None:
        """As `until_open`, without waiting; None: no attempt may begin now."""
        ...

    async def rest(self, delay_s: float) -> None:
        """Wait so long between two attempts."""
        ...

    def waits_for(self, trouble: str) -> None:
        """The target, or what takes its letters, is in this trouble; empty: all goes well."""
        ...


class Redelivery:
    """Any number of deliveries at the same time; whoever calls keeps the order of keys.

    Each attempt is a call of the worker's budget, as those of live deliveries are, and no more run
    at once than the flow allows.
    """

    def __init__(
        self,
        spec: FlowSpec,
        *,
        target: Target,
        dead_letters: DeadLetters,
        clock: Clock,
        random: Random,
        budget: WorkerBudget,
        figures: TaskFigures,
        durations: RunDurations,
        served: Served,
    ) -> None:
        """`spec` is one of a redrive: its attempts end, and nothing in it halts. `served` also
        knows of live deliveries to the same target."""
        self.spec = spec
        self._target = target
        self._counted = _CountedTarget(target, figures)
        self._served = served
        self._dead_letters = dead_letters
        self._clock = clock
        self._random = random
        self._durations = durations
        self._calls = CallsInTurn(budget)
        self._flows_calls = asyncio.Semaphore(spec.concurrency_max)

    async def deliver(
        self,
        delivery: Delivery,
        *,
        generation: int,
        task_id: str,
        gate: AttemptGate,
        held_up: Callable[[], None],
    ) -> bool:
        """Return once the outcome is durable: True if it succeeded, False if it is a letter again.

        `held_up` is told that it failed more than once or cannot be written, each time it waits.
        Raises Outdated, and what the gate raises. Cancelling leaves open what happened.
        """
        spec = replace(self.spec, generation=generation)
        letters = _LettersOfTask(self._dead_letters, task_id)
        courier, counted = self._courier(spec, letters), self._counted
        suspicion = Suspicion()
        work = _Redelivered(delivery)
        with self._calls.holding(delivery.held_bytes):
            while True:
                verdict = await self._attempt(courier, work, gate)
                gate.waits_for(letters.trouble or counted.trouble)
                if verdict is None:
                    return not letters.written
                assert isinstance(verdict, Rest), "no rule of a redrive halts"
                assert work.trial is not None, "it failed"
                history = work.trial.history
                outcome, now_s = history.newest[-1].outcome, self._clock.monotonic_s()
                suspicion.failed(outcome, now_s=now_s, served_s=self._served.newest_s)
                if suspicion.is_grave:
                    courier = self._courier(with_an_end(spec), letters)
                # One failure is often over with the next attempt.
                if history.count > 1 or letters.trouble:
                    held_up()
                await gate.rest(verdict.delay_s)

    def _courier(self, spec: FlowSpec, letters: DeadLetters) -> Courier:
        return Courier(
            spec,
            target=self._counted,
            dead_letters=letters,
            clock=self._clock,
            random=self._random,
            board=StatusBoard(spec.flow_id, self._clock, durations=self._durations),
            served=self._served,
        )

    async def _attempt(self, courier: Courier, work: Carried, gate: AttemptGate) -> Verdict:
        """One attempt, or one more try to write the letter that it became: that waits for no gate,
        but it does not outlive its flow, nor what the flow says of where letters go."""
        if work.trial is not None and work.trial.letter is not None:
            self._check(gate.spec_now())
            return await courier.attempt(work)
        while True:
            self._check(await gate.until_open())
            async with self._flows_calls, self._calls.one():
                if gate.is_open():  # it may have been shut while we waited for the call
                    return await courier.attempt(work)

    def _check(self, spec: FlowSpec | None) -> None:
        if spec is not None and not same_flow(spec, self.spec):
            raise Outdated

    async def close(self) -> None:
        """Give back what is held. Harmless twice."""
        await self._target.close()
        await self._dead_letters.close()


@dataclass(slots=True)
class _Redelivered:
    """A delivery of no partition that anybody reads."""

    delivery: Delivery
    began_s: float = 0.0
    trial: Trial | None = None
    trace: DeliveryTrace | None = None


class _CountedTarget:
    """Counts its attempts. `trouble` is how the last one failed for the target's sake; empty: it
    did not."""

    def __init__(self, target: Target, figures: TaskFigures) -> None:
        self._target = target
        self._figures = figures
        self.trouble = ""

    async def invoke(self, run: Run) -> Outcome:
        self._figures.attempt_began()
        outcome = None
        try:
            outcome = await self._target.invoke(run)
        finally:
            self._figures.attempt_ended(outcome)
        if is_letters(outcome):
            self.trouble = ""
        else:
            self.trouble = TROUBLE.format(outcome.word, outcome.error[:ERROR_CHARACTERS_MAX])
        return outcome

    async def close(self) -> None:
        """The target belongs to the redelivery."""


class _LettersOfTask:
    """Letters that say in which task they died. `trouble` is why the last one was not written;
    empty: it was, or none was to be."""

    def __init__(self, letters: DeadLetters, task_id: str) -> None:
        self._letters = letters
        self._task_id = task_id
        self.written = False
        self.trouble = ""

    async def write(self, letter: DeadLetter) -> None:
        try:
            await self._letters.write(died_in(letter, self._task_id))
        except EventflowsError as error:
            self.trouble = UNWRITTEN.format(error.message[:ERROR_CHARACTERS_MAX])
            if isinstance(error, TooLarge):  # the letter that it was stands meanwhile
                raise Unavailable(error.message) from error
            raise
        self.written = True
        self.trouble = ""

    async def close(self) -> None:
        """The letters belong to the redelivery."""
