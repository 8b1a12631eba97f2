"""The suite runs against every adapter of `LetterFold` and `LetterQueries`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from devstack import Postgres
from router.adapters.letter_database import LetterDatabase
from router.adapters.memory_letter_index import MemoryLetterIndex
from router.adapters.postgres_letter_fold import PostgresLetterFold
from router.adapters.postgres_letter_queries import PostgresLetterQueries
from router.dead_letter_ports import LetterFold, LetterQueries, ReadPosition
from router.domain.delivery import Delivery

from tests.support.letters import folded, letter_database


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Both halves of one index."""

    fold: LetterFold
    queries: LetterQueries

    async def take(self, *records: Delivery) -> None:
        """Fold records of one partition behind what was taken before."""
        partition, last = records[0].partition, records[-1]
        await self.fold.fold(
            partition,
            folded(*records),
            expected=(await self.fold.positions()).get(partition),
            now=ReadPosition(next_offset=last.offset + 1, last_ms=last.timestamp_ms),
        )


@pytest.fixture(params=["memory", "postgres"])
async def index(request: pytest.FixtureRequest, postgres: Postgres) -> AsyncIterator[Index]:
    """An index that is empty and prepared."""
    if request.param == "memory":
        memory = MemoryLetterIndex()
        yield Index(fold=memory, queries=memory)
        return
    async with LetterDatabase(await letter_database(postgres)) as database:
        fold = PostgresLetterFold(database)
        await fold.prepare()
        yield Index(fold=fold, queries=PostgresLetterQueries(database))
