"""API keys: `sim` and 25 random base62 characters, as the official clients expect.

The key exists in clear once, in the answer that creates it; what is kept is its SHA-256 and a mask.
25 characters of base62 hold 148 bits, so a plain hash is enough: there is nothing to guess.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

KEY_PREFIX = "sim"
KEY_RANDOM_CHARACTERS = 25
MASK_SHOWN_CHARACTERS = 4
_BASE62 = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that was just made. `clear` is shown once and kept nowhere."""

    clear: str = field(repr=False)
    sha256: bytes
    mask: str


def new_key(choose: Callable[[Sequence[str]], str]) -> NewKey:
    """A new key; `choose` picks one character, unpredictably (`secrets.choice`)."""
    letters = "".join(choose(_BASE62) for _ in range(KEY_RANDOM_CHARACTERS))
    clear = KEY_PREFIX + letters
    return NewKey(clear=clear, sha256=sha256(clear.encode()).digest(), mask=mask(clear))


def mask(clear: str) -> str:
    """What may be shown of a key: its prefix and its last four characters."""
    return f"{KEY_PREFIX}{'*' * 6}{clear[-MASK_SHOWN_CHARACTERS:]}"
