"""The token that goes on with a list: which list, and how far it was read."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from catalog.kinds import AggregateKind
from kernel.errors import InvalidInput

from registry.application.history import Place

_TEXT: Final = re.compile(r"v1:(\d{1,2}):(\d{1,18}):(\d{1,10})", re.ASCII)
TOKEN_LENGTH_MAX: Final = 64


def token_of(kind: AggregateKind, place: Place) -> str:
    """Opaque to callers; holds no secret."""
    text = f"v1:{kind.value}:{place.position}:{place.offset}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_in(token: str, kind: AggregateKind) -> Place:
    """Where the token leads. Raises InvalidInput."""
    try:
        padded = token + "=" * (-len(token) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise _foreign() from error
    found = _TEXT.fullmatch(text) if len(token) <= TOKEN_LENGTH_MAX else None
    if found is None:
        raise _foreign()
    number, position, offset = map(int, found.groups())
    if number != kind.value:
        raise InvalidInput("page_token is of a list of another kind: begin without a token")
    place = Place(position=position, offset=offset)
    if token_of(kind, place) != token:  # spelled in another way
        raise _foreign()
    return place


def _foreign() -> InvalidInput:
    return InvalidInput("page_token is none that was given out: begin without a token")
