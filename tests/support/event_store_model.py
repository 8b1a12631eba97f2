"""What an event store promises, in a few dicts: says what must become of each command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from registry.ports.event_store import Append, Outcome, Status, StoredCommand


@dataclass(slots=True)
class EventStoreModel:
    """Streams, commands and claims of a log. `events`: (stream, version, data), by position."""

    versions: dict[str, int] = field(default_factory=dict)
    commands: dict[str, StoredCommand] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)
    events: list[tuple[str, int, bytes]] = field(default_factory=list)

    def append(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        """The outcomes that the store must give for this batch."""
        return [self._append(one) for one in batch]

    def _append(self, one: Append) -> Outcome:
        version = self.versions.get(one.stream_id, 0)
        known = self.commands.get(one.command_id)
        if known is not None:
            if known.request_hash != one.request_hash:
                return Outcome(status=Status.COMMAND_REUSED, version=known.version)
            return _result(Status.REPLAYED, known)
        if one.expected_version != version:
            return Outcome(status=Status.VERSION_CONFLICT, version=version)
        if taken := sorted(set(one.claims) & set(self.claims)):
            return Outcome(status=Status.CLAIM_CONFLICT, version=version, claim=taken[0])
        for number, event in enumerate(one.events, start=1):
            self.events.append((one.stream_id, version + number, event.data))
        self.versions[one.stream_id] = version + len(one.events)
        for name in one.releases:
            if self.claims.get(name) == one.stream_id:
                del self.claims[name]
        self.claims |= dict.fromkeys(one.claims, one.stream_id)
        self.commands[one.command_id] = StoredCommand(
            request_hash=one.request_hash,
            version=version + len(one.events),
            position=len(self.events),
            event_count=len(one.events),
        )
        return _result(Status.STORED, self.commands[one.command_id])


def _result(status: Status, known: StoredCommand) -> Outcome:
    return Outcome(
        status=status,
        version=known.version,
        position=known.position,
        event_count=known.event_count,
    )
