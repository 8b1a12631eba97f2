"""Carries out one task on a flow's dead letters: a redrive or a purge.

    waiting (index behind, flow paused or blocked, something away) ◀──▶ working ──▶ finished
       └────────────────────────── stop ──▶ stopped ◀── stop ───────────────┘

A letter is done when its mark is durable, and the mark comes after the outcome; so whoever goes on
after a crash finds exactly the letters that are not done, as soon as the index has read all marks.
A delivery whose outcome came and whose mark did not is sent again, with the same request id.

Letters of the internal topic run in the order of their coordinates in the source (those of an own
topic: see `own_letters`), those of one key one after the other. Live records of that key may run in
between: they have passed the letters long ago.

An index that is made again meanwhile shows too few letters, and too many as open: what it showed
then is not worked on, and a task on the internal topic ends after a walk over a whole index that
settled none. The price: each page is two questions, and the letters are asked for once more at the
end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from catalog.records import DeadLetterTask, DeadLetterTaskKind
from kernel.errors import InvalidInput
from servicekit.cleanup import to_its_end

from router.application.index_watch import IndexWatch, Spans
from router.application.keep_trying import KeepTrying
from router.application.letters_at_work import LettersAtWork
from router.application.limits import DRAIN_S
from router.application.own_letters import OwnLetters
from router.application.own_topics import NONE_OF_ITS_OWN
from router.application.redelivery import Outdated, Redelivery
from router.application.task_gate import FlowGone, Stopped, TaskGate
from router.application.task_letters import IndexedLetters, TaskLetters
from router.application.task_tools import TaskTools
from router.domain.dead_letter_query import LetterQuery
from router.domain.dead_letter_record import Letter, LetterState
from router.domain.dead_letter_task import TaskProgress
from router.domain.flow_spec import FlowSpec, same_flow
from router.domain.redrive import TokenBucket, lane_of, spec_of_redrive

IN_OWN_TOPIC: Final = (
    "none is in the internal topic: ask with own_topic for those in the flow's own, {}"
)
PROBLEM_CHARACTERS_MAX: Final = 255
"""The registry refuses a longer one, and the task would never end."""
FLOW_GONE: Final = "the flow was deleted"


class TaskRun:
    """One attempt of this worker at a task."""

    def __init__(self, task: DeadLetterTask, tools: TaskTools) -> None:
        self.task = task
        self.progress = TaskProgress(task_id=task.dead_letter_task_id, state="waiting")
        self._tools = tools
        self._query = LetterQuery(
            flow_id=task.flow_id,
            selection=task.selection,
            given_up_before=_bound_of(task),
            not_born_in=task.dead_letter_task_id,
        )
        self._bucket = TokenBucket(task.rate_per_s, now_s=tools.clock.monotonic_s())
        self._gate = TaskGate(self._ready, says=self._says, clock=tools.clock)
        self._persist = KeepTrying(
            says=self._says,
            names={"flow_id": task.flow_id, "task_id": task.dead_letter_task_id},
            clock=tools.clock,
            random=tools.random,
        )
        self._topic = tools.topic_of(task.dead_letter_task_id)
        self._watch = IndexWatch(tools.fold, self._topic, says=self._says, clock=tools.clock)
        self._letters = self._letters_of(task)
        self._at_work = LettersAtWork(tools.held, says=self._says)
        self._redelivery: Redelivery | None = None
        self._spec: tuple[FlowSpec, FlowSpec] | None = None
        """The flow's newest spec, and what its redrive makes of it."""
        self._gone = False
        self._outdated = False
        """Did letters of this walk stay open, since the flow was changed? Then those behind them
        do as well."""

    async def run(self) -> bool:
        """Work until the registry knows of the task's end: True; or until `stop`: False.

        Cancelling breaks off what runs: what was not marked stays open.
        """
        working = asyncio.create_task(self._work())
        stopping = asyncio.create_task(self._gate.stopped())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            working.cancel()
            await asyncio.wait({working})
            if self._gate.is_stopped:
                await self._at_work.drain(DRAIN_S)
            try:
                working.result()
            except (Stopped, asyncio.CancelledError):
                return False
            return True
        finally:
            await to_its_end(self._clean_up(working, stopping))

    async def _clean_up(self, *tasks: asyncio.Task[None]) -> None:
        """End what runs and give back what is held. The end of a task is told twice: while we clean
        up after it, we are cancelled because of it."""
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._at_work.drain(0.0)
        await self._letters.close()
        await self._close_redelivery()

    def stop(self) -> None:
        """Begin no further attempt; those that run may end within the drain bound. Harmless twice,
        and before `run`."""
        self._gate.stop()

    def _letters_of(self, task: DeadLetterTask) -> TaskLetters:
        tools, query, task_id = self._tools, self._query, task.dead_letter_task_id
        if task.own_topic:
            return OwnLetters(
                query,
                open_topic=lambda: tools.open_own(task.flow_id),
                index=tools.index,
                marks=tools.marks,
                task_id=task_id,
            )
        return IndexedLetters(
            query, index=tools.index, topic=self._topic, marks=tools.marks, task_id=task_id
        )

    async def _work(self) -> None:
        problem = ""
        try:
            self._query.checked()
            known = await self._persist(self._watch.caught_up)
            if self.task.own_topic:
                await self._gate.until_open()
                if not self._tools.own_topic(self.task.flow_id):
                    raise InvalidInput(NONE_OF_ITS_OWN)  # `_persist` would ask for it for ever
            await self._persist(self._count)
            await self._all_letters(known)
        except InvalidInput as error:  # waiting would not mend the question
            problem = error.message
        except FlowGone:
            problem = FLOW_GONE
        await self._persist(self._finish, problem)

    async def _all_letters(self, known: Spans) -> None:
        """Walk over them, again where a walk may have missed some. `known`: what the index knew."""
        while True:
            settled = self.progress.settled
            whole = await self._walk(known)
            proven = self.progress.settled == settled or not self._letters.needs_proof
            if whole and proven:
                return
            self._letters.begin_again()
            self._at_work.begin_walk()  # before the marks of what ended until now are waited for
            known = await self._persist(self._watch.caught_up)
            await self._persist(self._count)

    async def _walk(self, known: Spans) -> bool:
        """Return when no letter of it is in work; False: it was left, since the index lacks what it
        knew, or letters of it were passed over."""
        whole, self._outdated = True, False
        while not self._outdated and (letters := await self._persist(self._more)):
            if await self._persist(self._watch.lacks, known):
                whole = False
                break
            for letter in letters:
                if self._outdated:
                    break
                await self._begin(letter)
        whole = await self._at_work.walked() and whole and not self._outdated
        if self._gone:
            await self._at_work.all_ended()
            raise FlowGone
        return whole and not await self._persist(self._watch.lacks, known)

    async def _more(self) -> Sequence[Letter]:
        """The next letters. Of an own topic only while its flow is there: once that is deleted its
        connection may be as well, and nobody would ever read the topic."""
        if self.task.own_topic and self._tools.ready(self.task.flow_id) is None:
            await self._at_work.all_ended()
            raise FlowGone
        return await self._letters.next()

    async def _begin(self, letter: Letter) -> None:
        if self.task.kind is DeadLetterTaskKind.PURGE:
            await self._at_work.begin(
                partial(self._purge, letter), lane=letter.letter_id, size_bytes=0
            )
            return
        redelivery = await self._flow_ready()
        lane = lane_of(letter, redelivery.spec.order)
        if not await self._at_work.is_free(lane):
            return
        wait_s = self._bucket.take(self._tools.clock.monotonic_s())
        if wait_s > 0:
            await self._tools.clock.sleep(wait_s)
        await self._at_work.begin(
            partial(self._redrive, letter, redelivery),
            lane=lane,
            size_bytes=letter.value_bytes,
        )

    async def _redrive(
        self, letter: Letter, redelivery: Redelivery, held_up: Callable[[], None]
    ) -> None:
        if self._outdated:
            return
        original = await self._persist(self._letters.original, letter)
        if original is None:  # its topic keeps it no longer, and soon the index neither
            self.progress = self.progress.one_less()
            return
        try:
            succeeded = await redelivery.deliver(
                original,
                generation=letter.generation + 1,
                task_id=self.task.dead_letter_task_id,
                gate=self._gate,
                held_up=held_up,
            )
        except (FlowGone, Outdated, Stopped) as end:  # the letter stays open
            self._gone = self._gone or isinstance(end, FlowGone)
            self._outdated = self._outdated or isinstance(end, Outdated)
            return
        state = LetterState.REDRIVEN if succeeded else LetterState.DIED_AGAIN
        await self._mark(letter, state)
        self.progress = self.progress.one_less(succeeded=int(succeeded), failed=int(not succeeded))

    async def _purge(self, letter: Letter, _: Callable[[], None]) -> None:
        await self._mark(letter, LetterState.PURGED)
        self.progress = self.progress.one_less(succeeded=1)

    async def _mark(self, letter: Letter, state: LetterState) -> None:
        await self._persist(self._letters.mark, letter, state)
        self._tools.figures.settled(state)

    async def _flow_ready(self) -> Redelivery:
        """The redelivery by the flow's spec of this moment; waits while the flow may not run."""
        try:
            spec = await self._gate.until_open()
        except FlowGone:
            await self._at_work.all_ended()
            raise
        return await self._persist(self._opened, spec)

    def _ready(self) -> FlowSpec | str | None:
        """As `TaskTools.ready`, with the spec of a redrive."""
        found = self._tools.ready(self.task.flow_id)
        if not isinstance(found, FlowSpec):
            return found
        if self._spec is None or self._spec[0] is not found:
            self._spec = found, spec_of_redrive(found, version=self.task.algorithm_version)
        return self._spec[1]

    async def _opened(self, spec: FlowSpec) -> Redelivery:
        have = self._redelivery
        if have is not None and same_flow(have.spec, spec):
            return have
        await self._at_work.all_ended()
        await self._close_redelivery()
        self._redelivery = await self._tools.open_redelivery(spec)
        return self._redelivery

    async def _close_redelivery(self) -> None:
        redelivery, self._redelivery = self._redelivery, None
        if redelivery is not None:
            await redelivery.close()

    async def _count(self) -> None:
        self.progress = replace(self.progress, left=await self._letters.count())

    async def _finish(self, problem: str) -> None:
        """Count by the marks, which outlive workers, and tell the registry."""
        await self._watch.caught_up()
        tally = await self._tools.index.tally(self.task.dead_letter_task_id)
        done = tally.get(LetterState.REDRIVEN, 0) + tally.get(LetterState.PURGED, 0)
        failed = tally.get(LetterState.DIED_AGAIN, 0)
        elsewhere = "" if self.task.own_topic else self._tools.own_topic(self.task.flow_id)
        if not done and not failed and not problem and elsewhere:
            problem = IN_OWN_TOPIC.format(elsewhere)
        await self._tools.ends.finish(
            self.task.dead_letter_task_id,
            succeeded=done,
            failed=failed,
            problem=problem[:PROBLEM_CHARACTERS_MAX],
        )
        self.progress = replace(
            self.progress, state="finished", reason="", succeeded=done, failed=failed, left=0
        )

    def _says(self, state: str, reason: str = "") -> None:
        self.progress = replace(self.progress, state=state, reason=reason)


def _bound_of(task: DeadLetterTask) -> datetime | None:
    """What is purged does not come back: nothing that died after the request, by either clock. A
    redrive goes by offsets alone, so that clocks that differ hide no letter from it."""
    return task.requested_time if task.kind is DeadLetterTaskKind.PURGE else None
