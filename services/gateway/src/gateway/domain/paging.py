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

from gateway.domain.moment import AsOf, Moment, as_of

LIMIT_DEFAULT = 50
LIMIT_MAX = 500
MARKER_LENGTH_MAX = 2_000
CODE_INVALID_MARKER = 5002
CODE_INVALID_LIMIT = 5003

T = TypeVar("T")
SortKey = tuple[str | int, ...]
MOMENT_MARK = "."
"""Between the position of a past moment and the place in a marker; base64 does not have it."""


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
        last = place_of(request.marker)
        try:
            ordered = [i for i in ordered if (key(i) < last if descending else key(i) > last)]
        except TypeError as error:
            raise bad_marker() from error
    found = tuple(ordered[: request.limit])
    more = len(ordered) > len(found)
    return Page(items=found, marker=marker_at(key(found[-1])) if more else None)


def kept_moment(marker: str | None, moment: Moment | None) -> str | None:
    """The marker of a page of then: the next page is of the same moment."""
    if marker is None or moment is None:
        return marker
    return f"{moment.position}{MOMENT_MARK}{marker}"


def moment_and_marker(asked: str | None, marker: str) -> tuple[AsOf | None, str]:
    """The moment that a request is about (None: now), and the marker without it.

    A marker keeps its moment, so `asked` need not be repeated. Raises InvalidInput, with 5002 for a
    marker of another moment than the one that is asked for.
    """
    wanted = None if asked is None else as_of(asked)
    before, mark, place = marker.partition(MOMENT_MARK)
    if not mark:
        if wanted is not None and marker:
            raise bad_marker()
        return wanted, marker
    position = as_of(before, field="marker") if before.isdigit() else None
    if position is None or (isinstance(wanted, int) and wanted != position):
        raise bad_marker()
    return position, place


def marker_at(key: SortKey) -> str:
    """The marker of the page after this place."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def place_of(marker: str) -> SortKey:
    """The place that a marker names. Raises InvalidInput (5002)."""
    if len(marker) > MARKER_LENGTH_MAX:
        raise bad_marker()
    try:
        padded = marker + "=" * (-len(marker) % 4)
        value = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise bad_marker() from error
    if not isinstance(value, list) or not all(type(part) in (str, int) for part in value):
        raise bad_marker()
    return tuple(value)


def _bad_limit() -> InvalidInput:
    return InvalidInput(f"limit must be a number from 1 to {LIMIT_MAX}", code=CODE_INVALID_LIMIT)


def bad_marker() -> InvalidInput:
    """A marker that no list of this kind gave."""
    return InvalidInput(
        "marker is not one that this list gave: repeat the request without it",
        code=CODE_INVALID_MARKER,
    )
