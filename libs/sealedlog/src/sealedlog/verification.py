"""Walks along a sealed log and says where it breaks: the same walk for rows, files and increments.

    walker = ChainWalker(after=point, expected=head_kept_elsewhere)
    for seal in seals:
        walker.begin(seal)
        for event in events_of(seal):
            walker.event(event)
        walker.end()
    walker.finish()

Price: an entry in memory a stream. Begun after a position, it takes the first version that it meets
of a stream as given: the chain covers it. What no walk can see by itself is a log whose end was cut
off or that was rewritten whole; an expected head, kept apart from the log, shows both.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from kernel.errors import InvalidInput

from sealedlog import sealing
from sealedlog.sealing import GENESIS, Sealed

HASH_BYTES: Final = 32


class SealRow(Protocol):
    """A link of the chain, of whatever record."""

    @property
    def first_position(self) -> int: ...
    @property
    def last_position(self) -> int: ...
    @property
    def hash(self) -> bytes: ...
    @property
    def time(self) -> datetime: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainPoint:
    """The chain's hash after the event at `position`, which is the last of its batch."""

    position: int
    hash: bytes


BEGINNING: Final = ChainPoint(position=0, hash=GENESIS)


class ChainBroken(InvalidInput):
    """The log is not what was sealed. `first_position` to `last_position` is the batch."""

    def __init__(self, message: str, *, first_position: int, last_position: int) -> None:
        super().__init__(message)
        self.first_position = first_position
        self.last_position = last_position


class ChainWalker:
    """Checks batch after batch; every method raises ChainBroken where the log breaks.

    `point` is the end of the last good batch; `events` and `seals` count what was recomputed.
    """

    def __init__(
        self, after: ChainPoint = BEGINNING, *, expected: ChainPoint | None = None
    ) -> None:
        """Raises InvalidInput when a point cannot be one."""
        _check_point("the point to begin after", after)
        if after.position == 0 and after.hash != GENESIS:
            raise InvalidInput("the hash before the first event must be 32 zero bytes")
        if expected is not None:
            _check_point("the expected head", expected)
            if expected.position < after.position:
                raise InvalidInput(
                    f"the expected head {expected.position} lies before the beginning "
                    f"{after.position}: begin at or below it"
                )
        self.point = after
        self.events = 0
        self.seals = 0
        self._from_beginning = after.position == 0
        self._expected = expected
        self._versions: dict[str, int] = {}
        self._position = after.position
        self._time: datetime | None = None
        self._seal: SealRow | None = None
        self._link: Any = None
        self._meet_expected()

    def begin(self, seal: SealRow) -> None:
        """The next batch."""
        self._seal = seal
        if seal.first_position != self.point.position + 1:
            raise self._broken(
                f"the seal of events {_range(seal)} does not follow event {self.point.position}"
            )
        if seal.last_position < seal.first_position:
            raise self._broken(f"the seal of events {_range(seal)} is over no events")
        if self._time is not None and seal.time <= self._time:
            raise self._broken(
                f"the seal of events {_range(seal)} is not later than the one before it"
            )
        self._link = hashlib.sha256(
            sealing.link_head(
                self.point.hash, first=seal.first_position, last=seal.last_position, time=seal.time
            )
        )

    def event(self, event: Sealed) -> None:
        """The next event of the batch."""
        seal = self._open_seal()
        following = self._position + 1
        if event.position < following:
            raise self._broken(f"event {event.position} is there twice or out of order")
        if event.position != following:
            raise self._broken(f"event {following} is missing")
        if event.position > seal.last_position:
            raise self._broken(f"event {event.position} does not belong to events {_range(seal)}")
        self._check_version(event)
        if event.time != seal.time:
            raise self._broken(f"event {event.position} has another time than its seal")
        self._position = event.position
        self._link.update(sealing.digest(event))

    def end(self) -> None:
        """All events of the batch were given."""
        seal = self._open_seal()
        if self._position != seal.last_position:
            raise self._broken(f"event {self._position + 1} is missing")
        if self._link.digest() != seal.hash:
            raise self._broken(f"events {_range(seal)} are not those that were sealed")
        self.point = ChainPoint(position=seal.last_position, hash=seal.hash)
        self.events += seal.last_position - seal.first_position + 1
        self.seals += 1
        self._time = seal.time
        self._meet_expected()
        self._seal = None

    def finish(self, head: ChainPoint | None = None) -> None:
        """The log ends here; `head` is what it says of itself."""
        if self._expected is not None and self._expected.position > self.point.position:
            raise self._broken(
                f"the log ends at event {self.point.position}, before the expected head "
                f"{self._expected.position}: its end was cut off"
            )
        if head is None:
            return
        if head.position != self.point.position:
            raise self._broken(
                f"the head is at {head.position}, the last sealed event is {self.point.position}"
            )
        if head.hash != self.point.hash:
            raise self._broken("the head has another hash than the last seal")

    def _open_seal(self) -> SealRow:
        if self._seal is None:
            raise RuntimeError("begin() a batch first")
        return self._seal

    def _check_version(self, event: Sealed) -> None:
        before = self._versions.get(event.stream_id)
        if before is None and not self._from_beginning:
            before = event.version - 1
        version = (before or 0) + 1
        if event.version != version or version < 1:
            raise self._broken(
                f"event {event.position} has version {event.version} of its stream, not {version}"
            )
        self._versions[event.stream_id] = version

    def _meet_expected(self) -> None:
        if self._expected is None or self._expected.position > self.point.position:
            return
        expected, self._expected = self._expected, None
        if expected.position < self.point.position:
            raise self._broken(
                f"the expected head {expected.position} is not the end of a batch: "
                "the log was rewritten, or the expected position is not one"
            )
        if expected.hash != self.point.hash:
            raise self._broken(
                f"the chain has another hash at {expected.position} than the expected head: "
                "the log up to there was rewritten"
            )

    def _broken(self, message: str) -> ChainBroken:
        if self._seal is None:
            last = self.point.position
            return ChainBroken(message, first_position=last, last_position=last)
        return ChainBroken(
            message,
            first_position=self._seal.first_position,
            last_position=self._seal.last_position,
        )


def _check_point(name: str, point: ChainPoint) -> None:
    if point.position < 0 or len(point.hash) != HASH_BYTES:
        raise InvalidInput(f"{name} must be a position of 0 or more and a hash of 32 bytes")


def _range(seal: SealRow) -> str:
    return f"{seal.first_position} to {seal.last_position}"
