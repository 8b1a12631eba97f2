"""A moment of the log as people write it: a position, a time with its zone, or `now`. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput

POSITION_MAX: Final = 2**63 - 1
NOW: Final = "now"


def as_of(text: str) -> pb.AsOf | None:
    """What `text` means; None: now. Raises InvalidInput."""
    if text == NOW:
        return None
    if text.isascii() and text.isdigit():
        return pb.AsOf(position=position(text))
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f"{text!r} is no moment: give a position (42), a time with its zone "
            f"(2026-11-24T09:30:00Z or 2026-11-24T10:30:00+01:00), or {NOW}"
        ) from error
    if time.tzinfo is None:
        raise InvalidInput(f"{text} has no zone: write {text}Z for UTC, or its offset (+01:00)")
    moment = pb.AsOf()
    moment.time.FromDatetime(time.astimezone(UTC))
    return moment


def position(text: str) -> int:
    """A position from its digits. Raises InvalidInput."""
    if not (text.isascii() and text.isdigit()) or int(text) > POSITION_MAX:
        raise InvalidInput(f"{text!r} is no position: give a whole number from 0 to 2^63-1")
    return int(text)


def chain_hash(text: str) -> bytes:
    """A hash of the chain from its hex digits. Raises InvalidInput."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise InvalidInput("a hash of the chain has 64 hex digits: `eventflows log stat` shows one")
    return value


def head(text: str) -> tuple[int, bytes]:
    """POSITION:HEX, as `log stat` and `log verify` show a head. Raises InvalidInput."""
    place, colon, digits = text.partition(":")
    if not colon:
        raise InvalidInput("a head is POSITION:HEX: `eventflows log stat` shows it in this form")
    return position(place), chain_hash(digits)
