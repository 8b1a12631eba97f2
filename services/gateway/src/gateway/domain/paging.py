"""Pages of a list: `limit` and an opaque `marker`, as Algorithmia's API has them.

A marker names the last item that was seen by its sort key, not by its place: items that come or go
between two pages make no other item appear twice or not at all.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kernel.errors import InvalidInput

LIMIT_DEFAULT = 50
LIMIT_MAX = 500
MARKER_LENGTH_MAX = 2_000
CODE_INVALID_MARKER = 5002
CODE_INVALID_LIMIT = 5003

T = TypeVar("T")
SortKey = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """Which page is wanted."""

    limit: int = LIMIT_DEFAULT
    marker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some items, and the marker of the page after them; None on the last page."""

    items: tuple[T, ...]
    marker: str | None


def page_request(*, limit: str | None, marker: str | None) -> PageRequest:
    """A page request from query parameters. Raises InvalidInput with codes 5002 and 5003."""
    if limit is None:
        return PageRequest(marker=marker or "")
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 9):
        raise _bad_limit()
    return checked(PageRequest(limit=int(limit), marker=marker or ""))


def checked(request: PageRequest) -> PageRequest:
    """The request itself. Raises InvalidInput (5003) for a limit that is out of bounds."""
    if not 1 <= request.limit <= LIMIT_MAX:
        raise _bad_limit()
    return request


def paginate(
    items: Iterable[T],
    request: PageRequest,
    *,
    key: Callable[[T], SortKey],
    descending: bool = False,
) -> Page[T]:
    """The items after the marker, sorted by `key`, which must be unique.

    Raises InvalidInput (5002) for a marker that this list did not give.
    """
    ordered = sorted(items, key=key, reverse=descending)
    if request.marker:
        last = _decode(request.marker)
        try:
            ordered = [i for i in ordered if (key(i) < last if descending else key(i) > last)]
        except TypeError as error:
            raise _bad_marker() from error
    found = tuple(ordered[: request.limit])
    more = len(ordered) > len(found)
    return Page(items=found, marker=_encode(key(found[-1])) if more else None)


def _encode(key: SortKey) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def _decode(marker: str) -> SortKey:
    if len(marker) > MARKER_LENGTH_MAX:
        raise _bad_marker()
    try:
        padded = marker + "=" * (-len(marker) % 4)
        value = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise _bad_marker() from error
    if not isinstance(value, list) or not all(type(part) in (str, int) for part in value):
        raise _bad_marker()
    return tuple(value)


def _bad_limit() -> InvalidInput:
    return InvalidInput(f"limit must be a number from 1 to {LIMIT_MAX}", code=CODE_INVALID_LIMIT)


def _bad_marker() -> InvalidInput:
    return InvalidInput(
        "marker is not one that this list gave: repeat the request without it",
        code=CODE_INVALID_MARKER,
    )
