"""The finished offsets above a low-water mark, as the text that Kafka keeps with a commit.

    1;<crc32>;<first>-<last>,<only>,…      offsets in base 36, relative to the position

ASCII, at most 4,096 bytes (a broker's default limit). If there is more, the lowest ranges are kept:
what is left out is done once more. The checksum covers the position, so that text that stands with
another position, as after a reset by hand, means nothing.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import Final, NamedTuple

from router.domain.low_water import Mark, Ranges

METADATA_BYTES_MAX: Final = 4_096
NUMBERS_KEPT_MAX: Final = 16_384
"""Numbers whose text is kept: nearly all are below the span that a partition may have."""
_VERSION: Final = "1"
_PREFIX_BYTES: Final = len(f"{_VERSION};{'0' * 8};")
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_BODY: Final = re.compile(r"[0-9a-z]{1,13}(-[0-9a-z]{1,13})?(,[0-9a-z]{1,13}(-[0-9a-z]{1,13})?)*")


class Encoded(NamedTuple):
    """`text` is empty if nothing is finished above the position, or nothing of it fits."""

    text: str
    is_whole: bool
    """Are all ranges in it?"""


def encode(mark: Mark, *, bytes_max: int = METADATA_BYTES_MAX) -> Encoded:
    """Text for the commit, of as many ranges as fit."""
    parts: list[str] = []
    room = bytes_max - _PREFIX_BYTES + 1
    for first, last in mark.finished:
        part = _base36(first - mark.position)
        if last > first:
            part += f"-{_base36(last - mark.position)}"
        room -= len(part) + 1
        if room < 0:
            break
        parts.append(part)
    is_whole = len(parts) == len(mark.finished)
    if not parts:
        return Encoded("", is_whole)
    body = ",".join(parts)
    return Encoded(f"{_VERSION};{_checksum(mark.position, body)};{body}", is_whole)


def less_bytes(refused_bytes: int, *, prefix_bytes: int) -> int:
    """What to try with a broker that took no text of so many bytes: half of them, but while it may
    be the whole prefix; at last nothing."""
    return max(refused_bytes // 2, prefix_bytes) if refused_bytes > prefix_bytes else 0


def decode(position: int, text: str) -> Ranges | None:
    """The finished ranges; None for text that is not ours or not of this position."""
    if not text:
        return ()
    version, _, rest = text.partition(";")
    checksum, _, body = rest.partition(";")
    if version != _VERSION or not _BODY.fullmatch(body) or checksum != _checksum(position, body):
        return None
    ranges: list[tuple[int, int]] = []
    for part in body.split(","):
        first, _, last = part.partition("-")
        begin = position + int(first, 36)
        end = position + int(last, 36) if last else begin
        if begin > end or (ranges and begin <= ranges[-1][1]):
            return None
        ranges.append((begin, end))
    return tuple(ranges)


def _checksum(position: int, body: str) -> str:
    return f"{zlib.crc32(f'{position};{body}'.encode('ascii')):08x}"


@lru_cache(maxsize=NUMBERS_KEPT_MAX)
def _base36(number: int) -> str:
    digits = ""
    while number or not digits:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits
