"""The writing half of the dead letters' index on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from kernel.errors import VersionConflict

from router.adapters.letter_database import LetterDatabase
from router.adapters.statements import script, statements
from router.dead_letter_ports import ReadPosition
from router.domain.dead_letter_mark import Folded, OwnMark
from router.domain.dead_letter_record import Letter

EXPIRE_LETTERS_MAX: Final = 5_000


class PostgresLetterFold:
    """`LetterFold` on PostgreSQL; the letters' rows and the position share each transaction."""

    def __init__(self, database: LetterDatabase) -> None:
        self._database = database
        self._sql = statements("letter_fold.sql")

    async def prepare(self) -> None:
        async with (
            self._database.connection("making the index of dead letters") as connection,
            connection.transaction(),
        ):
            await connection.execute(self._sql["lock_schema"])
            await connection.execute(script("letter_schema.sql"))

    async def positions(self) -> Mapping[int, ReadPosition]:
        async with self._database.connection("reading the index's positions") as connection:
            rows = await connection.fetch(self._sql["positions"])
        return {
            row["partition"]: ReadPosition(next_offset=row["next_offset"], last_ms=row["last_ms"])
            for row in rows
        }

    async def fold(
        self, partition: int, folded: Folded, *, expected: ReadPosition | None, now: ReadPosition
    ) -> None:
        marks = [
            (mark.letter_id.partition, mark.letter_id.offset, mark.state.value, mark.at,
             mark.task_id)
            for mark in folded.marks
        ]  # fmt: skip
        async with (
            self._database.connection("writing the index of dead letters") as connection,
            connection.transaction(),
        ):
            if expected is None:
                moved = await connection.fetchval(
                    self._sql["begin"], partition, now.next_offset, now.last_ms
                )
            else:
                moved = await connection.fetchval(
                    self._sql["advance"],
                    partition,
                    now.next_offset,
                    now.last_ms,
                    expected.next_offset,
                    expected.last_ms,
                )
            if moved is None:
                raise _moved_on(partition)
            if folded.letters:
                rows = [_row(letter) for letter in folded.letters]
                await connection.executemany(self._sql["add"], rows)
            if marks:
                await connection.executemany(self._sql["mark"], marks)
            if folded.own_marks:
                own = [_own_row(mark, partition) for mark in folded.own_marks]
                await connection.executemany(self._sql["mark_own"], own)

    async def forget(self, partition: int, *, expected: ReadPosition) -> None:
        async with (
            self._database.connection("clearing the index of dead letters") as connection,
            connection.transaction(),
        ):
            gone = await connection.fetchval(
                self._sql["forget_position"], partition, expected.next_offset, expected.last_ms
            )
            if gone is None:
                raise _moved_on(partition)
            await connection.execute(self._sql["forget_letters"], partition)
            await connection.execute(self._sql["forget_own_marks"], partition)

    async def expire(self, partitions: Iterable[int], *, written_before: datetime) -> int:
        named, before_ms = list(partitions), int(written_before.timestamp() * 1_000)
        async with self._database.connection("clearing the index of dead letters") as connection:
            letters = await connection.fetchval(
                self._sql["expire"], named, before_ms, EXPIRE_LETTERS_MAX
            )
            own_marks = await connection.fetchval(
                self._sql["expire_own_marks"], named, written_before, EXPIRE_LETTERS_MAX
            )
        return int(letters) + int(own_marks)


def _row(letter: Letter) -> tuple[object, ...]:
    return (
        letter.letter_id.partition,
        letter.letter_id.offset,
        letter.flow_id,
        letter.algorithm,
        letter.version,
        letter.topic,
        letter.source_partition,
        letter.source_offset,
        letter.record_time_ms,
        letter.key,
        letter.key_hash,
        letter.value_bytes,
        letter.failure.value,
        letter.reason,
        letter.error_type,
        letter.error,
        letter.attempts,
        letter.first_time,
        letter.given_up_time,
        letter.request_id,
        letter.generation,
        letter.born_in_task,
        letter.written_ms,
    )


def _own_row(mark: OwnMark, partition: int) -> tuple[object, ...]:
    return (
        mark.flow_id,
        mark.topic,
        mark.letter_id.partition,
        mark.letter_id.offset,
        mark.written_ms,
        partition,
        mark.state.value,
        mark.at,
        mark.task_id,
    )


def _moved_on(partition: int) -> VersionConflict:
    return VersionConflict(f"another worker reads partition {partition} of the dead letters")
