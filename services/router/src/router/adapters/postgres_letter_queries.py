"""The reading half of the dead letters' index on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from router.adapters.letter_database import LetterDatabase
from router.adapters.statements import statements
from router.dead_letter_ports import LetterFigures
from router.domain.dead_letter_mark import OwnMark
from router.domain.dead_letter_query import LetterQuery, PageKey, SourceKey
from router.domain.dead_letter_record import Letter, LetterId, LetterState
from router.domain.outcome import OutcomeKind

_SUBJECT = "reading the index of dead letters"


class PostgresLetterQueries:
    """`LetterQueries` on PostgreSQL."""

    def __init__(self, database: LetterDatabase) -> None:
        self._database = database
        self._sql = statements("letter_queries.sql")

    async def page(
        self, query: LetterQuery, *, below: PageKey | None, letters_max: int
    ) -> Sequence[Letter]:
        after = below or (None, None, None)
        rows = await self._fetch("page", *_parameters(query), *after, letters_max)
        return [_letter(row) for row in rows]

    async def in_order(
        self, query: LetterQuery, *, above: SourceKey | None, letters_max: int
    ) -> Sequence[Letter]:
        after = above or (None, None, None, None, None)
        rows = await self._fetch("in_order", *_parameters(query), *after, letters_max)
        return [_letter(row) for row in rows]

    async def find(self, letter_id: LetterId) -> Letter | None:
        rows = await self._fetch("find", letter_id.partition, letter_id.offset)
        return _letter(rows[0]) if rows else None

    async def count(self, query: LetterQuery) -> int:
        rows = await self._fetch("count", *_parameters(query))
        return int(rows[0][0])

    async def tally(self, task_id: str) -> Mapping[LetterState, int]:
        rows = await self._fetch("tally", task_id)
        return {LetterState(row["state"]): row["letters"] for row in rows}

    async def own_marks(
        self, flow_id: str, topic: str, letters: Sequence[Letter]
    ) -> Mapping[LetterId, OwnMark]:
        rows = await self._fetch(
            "own_marks",
            flow_id,
            topic,
            [one.letter_id.partition for one in letters],
            [one.letter_id.offset for one in letters],
            [one.written_ms for one in letters],
        )
        marks = [_own_mark(row, flow_id, topic) for row in rows]
        return {mark.letter_id: mark for mark in marks}

    async def figures(self, partitions: Iterable[int], *, flows_max: int) -> LetterFigures:
        named = list(partitions)
        (whole,) = await self._fetch("open_letters", named)
        flows = await self._fetch("open_by_flow", named, flows_max)
        return LetterFigures(
            open_letters=whole["letters"],
            oldest_open=whole["oldest"],
            by_flow={row["flow_id"]: row["letters"] for row in flows},
        )

    async def _fetch(self, name: str, *parameters: object) -> Sequence[Any]:
        return await self._database.fetch(_SUBJECT, self._sql[name], *parameters)


def _parameters(query: LetterQuery) -> tuple[object, ...]:
    """The first fourteen parameters of `letter_queries.sql`."""
    selection = query.selection
    first, last = query.offsets or (None, None)
    ids = query.letter_ids
    return (
        query.flow_id,
        [state.value for state in query.states],
        selection.since,
        query.until,
        None if query.failure is None else query.failure.value,
        selection.error_type,
        query.key_hash,
        selection.topic,
        list(selection.partitions) or None,
        first,
        last,
        [one.partition for one in ids] or None,
        [one.offset for one in ids] or None,
        query.not_born_in,
    )


def _own_mark(row: Any, flow_id: str, topic: str) -> OwnMark:
    return OwnMark(
        flow_id=flow_id,
        topic=topic,
        letter_id=LetterId(partition=row["letter_partition"], offset=row["letter_offset"]),
        written_ms=row["written_ms"],
        state=LetterState(row["state"]),
        task_id=row["task_id"],
        at=row["state_time"],
    )


def _letter(row: Any) -> Letter:
    return Letter(
        letter_id=LetterId(partition=row["partition"], offset=row["letter_offset"]),
        flow_id=row["flow_id"],
        algorithm=row["algorithm"],
        version=row["version"],
        topic=row["topic"],
        source_partition=row["source_partition"],
        source_offset=row["source_offset"],
        record_time_ms=row["record_time_ms"],
        key=row["record_key"],
        key_hash=row["key_hash"],
        value_bytes=row["value_bytes"],
        failure=OutcomeKind(row["failure"]),
        reason=row["reason"],
        error_type=row["error_type"],
        error=row["error"],
        attempts=row["attempts"],
        first_time=row["first_time"],
        given_up_time=row["given_up_time"],
        request_id=row["request_id"],
        generation=row["generation"],
        born_in_task=row["born_in_task"],
        written_ms=row["written_ms"],
        state=LetterState(row["state"]),
        state_time=row["state_time"],
        task_id=row["task_id"],
    )
