"""If-Match as RFC 9110 (8.8.3, 13.1.1) has it, on ETags that are versions of streams.

`*` asks only that the resource exists, which every change asks anyway. Comparison is strong: a weak
tag never fits, nor does one that we never gave; so the change is refused with 412. A version
without quotes is taken too, though the RFC does not know it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kernel.errors import InvalidInput

TAGS_MAX = 8
_VERSION_MAX = 2**31 - 1
_TAG = re.compile(r'\s*(?:(W/)?"([\x21\x23-\x7e\x80-\xff]*)"|(\d{1,10}))\s*(?:,|$)', re.ASCII)


def expected_versions(values: Sequence[str]) -> tuple[int, ...] | None:
    """The versions that the header lines accept; None: any, (): none can be right.

    Raises InvalidInput for what is no list of entity tags.
    """
    value = ",".join(values).strip()
    if value in ("", "*"):
        return None
    found: list[re.Match[str]] = []
    place = 0
    while place < len(value):
        tag = _TAG.match(value, place)
        if tag is None or len(found) == TAGS_MAX:
            raise InvalidInput(
                f'If-Match must be the ETag of an earlier answer, such as "3", or up to {TAGS_MAX} '
                "of them with commas, or *, or be left out"
            )
        found.append(tag)
        place = tag.end()
    versions = (
        _version(strong or bare or "") for weak, strong, bare in map(_groups, found) if not weak
    )
    return tuple(dict.fromkeys(version for version in versions if version is not None))


def _groups(tag: re.Match[str]) -> tuple[str | None, str | None, str | None]:
    return tag[1], tag[2], tag[3]


def _version(opaque: str) -> int | None:
    """The version behind a tag; None for one that we never gave."""
    if not re.fullmatch(r"0|[1-9]\d{0,9}", opaque, re.ASCII) or int(opaque) > _VERSION_MAX:
        return None
    return int(opaque)
