"""Sends deliveries of one flow through its target again, by the same courier as live ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from router.application.courier import Courier, Rest
from router.application.limits import PumpLimits
from router.application.status_board import StatusBoard
from router.application.work import NEVER, PartitionWork, Work
from router.domain.dead_letter import DeadLetter, died_in
from router.domain.delivery import Delivery
from router.domain.flow_spec import FlowSpec
from router.domain.low_water import Mark
from router.ports import Clock, DeadLetters, Random, Target


class Redelivery:
    """Any number of deliveries at the same time; whoever calls keeps the order of keys."""

    def __init__(
        self,
        spec: FlowSpec,
        *,
        target: Target,
        dead_letters: DeadLetters,
        clock: Clock,
        random: Random,
    ) -> None:
        """`spec` is one of a redrive: its attempts end, and nothing in it halts."""
        self.spec = spec
        self._target = target
        self._dead_letters = dead_letters
        self._clock = clock
        self._random = random

    async def deliver(
        self,
        delivery: Delivery,
        *,
        generation: int,
        task_id: str,
        may_begin: Callable[[], Awaitable[object]],
    ) -> bool:
        """Return once the outcome is durable: True if it succeeded, False if it is a letter again.

        `may_begin` is waited for before each attempt; what it raises ends the delivery and leaves
        it as it was. Cancelling leaves open what happened.
        """
        spec = replace(self.spec, generation=generation)
        letters = _LettersOfTask(self._dead_letters, task_id)
        courier = Courier(
            spec,
            target=self._target,
            dead_letters=letters,
            clock=self._clock,
            random=self._random,
            board=StatusBoard(spec.flow_id, self._clock),
        )
        nowhere = PartitionWork(
            delivery.partition,
            Mark(position=delivery.offset),
            order=spec.order,
            limits=PumpLimits(),
            parts=1,
            begun_max=NEVER,
        )
        work = Work(delivery, nowhere, 0)
        while True:
            if work.trial is None or work.trial.letter is None:
                await may_begin()
            verdict = await courier.attempt(work)
            if verdict is None:
                return not letters.written
            assert isinstance(verdict, Rest), "no rule of a redrive halts"
            await self._clock.sleep(verdict.delay_s)

    async def close(self) -> None:
        """Give back what is held. Harmless twice."""
        await self._target.close()
        await self._dead_letters.close()


class _LettersOfTask:
    """Letters that say in which task they died."""

    def __init__(self, letters: DeadLetters, task_id: str) -> None:
        self._letters = letters
        self._task_id = task_id
        self.written = False

    async def write(self, letter: DeadLetter) -> None:
        await self._letters.write(died_in(letter, self._task_id))
        self.written = True

    async def close(self) -> None:
        """The letters belong to the redelivery."""
