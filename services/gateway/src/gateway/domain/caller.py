"""Who calls: an account by one of its keys. The two kinds of key open different paths.

Application functions take `Standard` or `Admin`, so a function for admins cannot be called with a
standard key: the type checker sees it, and `admin()` and `standard()` are the only doors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from catalog.records import Account
from kernel.errors import NotAllowed, Unauthenticated

KEY_LENGTH_MAX = 200
_SCHEME = re.compile(r"(?i)(simple|bearer) +(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """An account that calls with a standard key: it acts on what is its own."""

    account: Account
    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """An account that calls with an admin key: it acts on the cluster."""

    account: Account
    key_id: str


Caller: TypeAlias = Standard | Admin


def standard(caller: Caller) -> Standard:
    """The caller as a holder of a standard key. Raises NotAllowed for an admin key."""
    if isinstance(caller, Standard):
        return caller
    raise NotAllowed(
        "this needs a standard key and the one sent is an admin key: "
        "send an API key of key_type AlgorithmKey"
    )


def admin(caller: Caller) -> Admin:
    """The caller as a holder of an admin key. Raises NotAllowed for a standard key."""
    if isinstance(caller, Admin):
        return caller
    raise NotAllowed(
        "this needs an admin key and the one sent is a standard key: "
        "send an API key of key_type PlatformAdminKey"
    )


def key_digest(authorization: str | None) -> bytes:
    """SHA-256 of the key in an `Authorization` value: `Simple KEY` or the bare key.

    Raises Unauthenticated when there is none, or another scheme.
    """
    value = (authorization or "").strip()
    if not value:
        raise Unauthenticated("authorization required: send the header `Authorization: Simple KEY`")
    match = _SCHEME.fullmatch(value)
    if match is not None and match[1].lower() == "bearer":
        raise Unauthenticated(
            "bearer tokens are not supported yet: send an API key as `Authorization: Simple KEY`"
        )
    key = match[2].strip() if match is not None else value
    if not key or len(key) > KEY_LENGTH_MAX or not key.isascii():
        raise Unauthenticated(UNKNOWN_KEY)
    return sha256(key.encode()).digest()


UNKNOWN_KEY = "nobody has this API key: check it, it may have been revoked"
