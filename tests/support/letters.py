"""Letters and marks as records of the internal topic, and a database for their index."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from devstack import Postgres
from router.domain.dead_letter import Attempt, History, dead_letter, died_in
from router.domain.dead_letter_mark import (
    Folded,
    fold,
    headers_of_mark,
    headers_of_own_mark,
    key_of_own_mark,
)
from router.domain.dead_letter_record import Letter, LetterId, LetterState
from router.domain.delivery import Delivery, Headers
from router.domain.flow_spec import FlowSpec
from router.domain.outcome import OutcomeKind, failed

from tests.support.router_flows import SUBSCRIBER, delivery

START = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
_NUMBERS = count(1)


def letter_headers(
    original: Delivery,
    *,
    spec: FlowSpec = SUBSCRIBER,
    kind: OutcomeKind = OutcomeKind.ALGORITHM_ERROR,
    error: str = "bad",
    error_type: str = "InputError",
    at: datetime = START,
    task_id: str = "",
) -> Headers:
    """The headers of the letter of a delivery that one attempt made."""
    history = History()
    outcome = failed(kind, error, error_type=error_type)
    history.add(Attempt(attempt=1, at=at, outcome=outcome))
    letter = dead_letter(spec, original, history, request_id="req-1")
    return died_in(letter, task_id).headers if task_id else letter.headers


def letter_record(
    partition: int, offset: int, *, original: Delivery | None = None, **letter: Any
) -> Delivery:
    """A letter where it stands in the internal topic, written when it was given up."""
    original = delivery(offset) if original is None else original
    at: datetime = letter.get("at", START)
    return Delivery(
        topic="dead-letters",
        partition=partition,
        offset=offset,
        timestamp_ms=int(at.timestamp() * 1_000),
        key=original.key,
        value=original.value,
        headers=letter_headers(original, **letter),
        epoch=0,
    )


def mark_record(
    offset: int, letter_id: LetterId, state: LetterState, *, task_id: str = "task-1"
) -> Delivery:
    """A mark where it stands in its letter's partition."""
    return Delivery(
        topic="dead-letters",
        partition=letter_id.partition,
        offset=offset,
        timestamp_ms=int((START + timedelta(hours=1)).timestamp() * 1_000),
        key=str(letter_id).encode(),
        value=None,
        headers=headers_of_mark(letter_id, state, task_id=task_id),
        epoch=0,
    )


def own_mark_record(
    partition: int, offset: int, letter: Letter, state: LetterState, *, task_id: str = "task-1"
) -> Delivery:
    """The mark of a letter in the own topic `rejects`, where it stands in the internal one."""
    return Delivery(
        topic="dead-letters",
        partition=partition,
        offset=offset,
        timestamp_ms=int((START + timedelta(hours=1)).timestamp() * 1_000),
        key=key_of_own_mark(letter, topic="rejects"),
        value=None,
        headers=headers_of_own_mark(letter, state, topic="rejects", task_id=task_id),
        epoch=0,
    )


def folded(*records: Delivery) -> Folded:
    """All of them are readable."""
    made = fold(records)
    assert made.unreadable == ()
    return made


def ids(letters: Sequence[Letter]) -> list[str]:
    """Their ids, in order."""
    return [str(letter.letter_id) for letter in letters]


async def letter_database(postgres: Postgres) -> str:
    """A new, empty database with a login that may make schemas in it; its address."""
    name = f"dead_letters_{next(_NUMBERS)}"
    at = urlsplit(await postgres.create_database(name))
    await postgres.create_login("dead_letters_tests", password="password-of-tests", database=name)
    netloc = f"dead_letters_tests:password-of-tests@{at.hostname}:{at.port}"
    return urlunsplit(at._replace(netloc=netloc))
