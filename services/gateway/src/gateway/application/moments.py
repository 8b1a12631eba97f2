"""Catalogs of past moments: the ones used last are kept, few are read at a time.

A moment never changes, so what is kept is never stale. The price: a whole catalog in memory for
each that is kept, and for each that is being read.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from kernel.errors import NotFound, Overloaded, TimedOut

from gateway.domain.moment import AsOf, Moment
from gateway.ports import Past, Then

KEPT_MAX = 2
READ_AT_ONCE_MAX = 2
READ_TIMEOUT_S = 60.0
RETRY_AFTER_S = 2.0
TIMES_KEPT_MAX = 1_000


@dataclass(slots=True)
class _Question:
    """One moment that is being read, and how many wait for it."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Moments:
    """Answers reads as of a moment. Any number at once; equal questions are read once."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self._kept: OrderedDict[int, Then] = OrderedDict()
        self._position_at: OrderedDict[datetime, int] = OrderedDict()
        self._questions: dict[AsOf, _Question] = {}

    async def at(self, as_of: AsOf) -> Then:
        """The catalog as of a moment, with the moment that it was resolved to.

        Raises InvalidInput with the registry's sentence for a moment that it does not have,
        Overloaded when two others are being read, Unavailable, TimedOut.
        """
        if (known := self._known(as_of)) is not None:
            return known
        if as_of not in self._questions and len(self._questions) >= READ_AT_ONCE_MAX:
            raise Overloaded(
                f"{READ_AT_ONCE_MAX} past moments are being read already: try again in a moment",
                retry_after_s=RETRY_AFTER_S,
            )
        try:
            async with asyncio.timeout(READ_TIMEOUT_S), self._turn(as_of):
                return self._known(as_of) or await self._read(as_of)
        except TimeoutError as error:
            raise TimedOut(
                f"the past was not read within {READ_TIMEOUT_S:g} s: try again later"
            ) from error

    def _known(self, as_of: AsOf) -> Then | None:
        position = as_of if isinstance(as_of, int) else self._position_at.get(as_of)
        if position is None or position not in self._kept:
            return None
        self._kept.move_to_end(position)
        return self._kept[position]

    @asynccontextmanager
    async def _turn(self, as_of: AsOf) -> AsyncIterator[None]:
        question = self._questions.setdefault(as_of, _Question())
        question.waiting += 1
        try:
            async with question.turn:
                yield
        finally:
            question.waiting -= 1
            if not question.waiting:
                del self._questions[as_of]

    async def _read(self, as_of: AsOf) -> Then:
        async with self._past.at(as_of) as found:
            position = found.moment.position
            then = self._kept.get(position)
            if then is None:
                then = Then(moment=found.moment, catalog=await found.restored())
        self._kept[position] = then
        self._kept.move_to_end(position)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        if isinstance(as_of, datetime):
            self._position_at[as_of] = position
            if len(self._position_at) > TIMES_KEPT_MAX:
                self._position_at.popitem(last=False)
        return then


@contextmanager
def told_of(moment: Moment | None) -> Iterator[None]:
    """Inside, a NotFound says of which past moment it speaks."""
    try:
        yield
    except NotFound as error:
        if moment is None:
            raise
        raise NotFound(
            f"it did not exist as of {moment}: ask for another moment, or leave as_of out for now "
            f"({error.message})",
            code=error.code,
        ) from error
