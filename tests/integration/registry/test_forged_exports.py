"""Exports whose form and chain are right and whose content no registry would have written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import grpc
import grpc.aio
import pytest
from catalog import codec
from catalog.events import AccountCreated, AccountKind, Event
from registry.application import importing
from sealedlog.rows import Event as Row
from sealedlog.rows import Seal

from tests.support.exports import import_records, log_of
from tests.support.registry import Database, served
from tests.support.sealed_logs import START, Batch, link_of, records_of


def account(number: int, **fields: str) -> Event:
    """An account of its own name, unless it is given one."""
    given = {"username": f"u{number}", "email": f"u{number}@example.test", **fields}
    return AccountCreated(
        account_id=str(UUID(int=number)),
        kind=AccountKind.USER,
        **given,
    )


def batches(events: Iterable[Event], *, start: datetime = START) -> Sequence[Batch]:
    """One batch an event, sealed anew as anybody can."""
    made: list[Batch] = []
    hash_ = bytes(32)
    for position, event in enumerate(events, start=1):
        row = Row(
            position=position,
            stream_id=str(UUID(int=position)),
            version=1,
            name=codec.stored_name(event),
            time=start + timedelta(seconds=position),
            data=codec.encode(event),
            metadata=b"",
        )
        hash_ = link_of(hash_, [row])
        seal = Seal(first_position=position, last_position=position, hash=hash_, time=row.time)
        made.append((seal, [row]))
    return made


def sealed_again(batches_: Sequence[Batch], change: Callable[[Row], Row]) -> Sequence[Batch]:
    """The batches with the last event changed, and its seal made to fit."""
    *before, (seal, (last,)) = batches_
    changed = change(last)
    hash_ = link_of(before[-1][0].hash, [changed])
    return [*before, (replace(seal, hash=hash_), [changed])]


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """Status and sentence of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


HONEST = batches([account(1), account(2), account(3)])
FORGED: dict[str, tuple[Sequence[Batch], str]] = {
    "a name twice": (
        batches([account(1), account(2), account(3, username="U1")]),
        "takes a name that is taken",
    ),
    "an e-mail twice, one after the other": (
        batches([account(1), account(2, email="u1@example.test")]),
        "takes a name that is taken",
    ),
    "a time in the future": (
        batches([account(1), account(2)], start=datetime(2999, 1, 1, tzinfo=UTC)),
        "events of the future",
    ),
    "the life of a stream that was another's": (
        sealed_again(
            HONEST,
            lambda row: replace(
                row, stream_id=str(UUID(int=1)), version=2, data=HONEST[0][1][0].data
            ),
        ),
        "not made by a registry",
    ),
    "a stream that the event does not name": (
        sealed_again(HONEST, lambda row: replace(row, stream_id=str(UUID(int=9)))),
        "not made by a registry",
    ),
    "who did it cannot be read": (
        sealed_again(HONEST, lambda row: replace(row, metadata=b"\xff")),
        "newer build",
    ),
    "an event under another name": (
        sealed_again(HONEST, lambda row: replace(row, name="flow.enabled.v1")),
        "is another",
    ),
}


@pytest.mark.parametrize("step_events_max", [1, 5_000], ids=["small steps", "one step"])
async def test_what_no_registry_wrote_is_refused_and_nothing_is_written(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step_events_max: int,
) -> None:
    monkeypatch.setattr(importing, "IMPORT_EVENTS_MAX", step_events_max)
    async with served(database, tmp_path) as registry, registry.client("operator") as client:
        empty = await log_of(database.owner_dsn)
        for forgery, (forged, words) in FORGED.items():
            status, told = await refused(import_records(client, records_of(forged)))
            assert status is grpc.StatusCode.INVALID_ARGUMENT, (forgery, told)
            assert words in told, (forgery, told)
            assert await log_of(database.owner_dsn) == empty, forgery
        answer = await import_records(client, records_of(HONEST))
        assert answer.events == len(HONEST)
