"""The two ends of `log.append_batch`: a batch as its arrays, and its row as outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from registry.ports.event_store import Append, Outcome, Status


def arguments(batch: Sequence[Append]) -> tuple[list[Any], ...]:
    """The arrays, in the function's order. Ids go as text: the driver reads them faster so."""
    types: dict[str, int] = {}
    event_ends: list[int] = []
    event_commands: list[int] = []
    event_types: list[int] = []
    event_data: list[bytes] = []
    claims: list[tuple[int, str]] = []
    releases: list[tuple[int, str]] = []
    for number, one in enumerate(batch, start=1):
        for event in one.events:
            event_commands.append(number)
            event_types.append(types.setdefault(event.name, len(types) + 1))
            event_data.append(event.data)
        event_ends.append(len(event_data))
        claims += [(number, name) for name in one.claims]
        releases += [(number, name) for name in one.releases]
    return (
        [one.command_id for one in batch],
        [one.request_hash for one in batch],
        [one.stream_id for one in batch],
        [one.category for one in batch],
        [one.expected_version for one in batch],
        [one.metadata for one in batch],
        event_ends,
        list(types),
        event_commands,
        event_types,
        event_data,
        [number for number, _ in claims],
        [name for _, name in claims],
        [number for number, _ in releases],
        [name for _, name in releases],
    )


def outcomes(batch: Sequence[Append], row: Mapping[str, Any]) -> Sequence[Outcome]:
    """What became of each command, in the order of the batch."""
    if row["statuses"] is None:
        return _all_stored(batch, row["base"])
    rows = zip(
        row["statuses"], row["versions"], row["positions"], row["event_counts"], row["details"],
        strict=True,
    )  # fmt: skip
    return [_outcome(Status(status), *result) for status, *result in rows]


def _outcome(
    status: Status, version: int, position: int | None, event_count: int | None, taken: str | None
) -> Outcome:
    if status in (Status.STORED, Status.REPLAYED):
        return Outcome(
            status=status, version=version, position=position or 0, event_count=event_count or 0
        )
    claim = taken or "" if status is Status.CLAIM_CONFLICT else ""
    return Outcome(status=status, version=version, claim=claim)


def _all_stored(batch: Sequence[Append], base: int) -> Sequence[Outcome]:
    position = base
    stored = []
    for one in batch:
        position += len(one.events)
        stored.append(
            Outcome(
                status=Status.STORED,
                version=one.expected_version + len(one.events),
                position=position,
                event_count=len(one.events),
            )
        )
    return stored
