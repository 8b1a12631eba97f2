"""What a commit is called."""

from __future__ import annotations

import re

_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(text: str) -> bool:
    """40 lower-case hex digits?"""
    return _COMMIT.fullmatch(text) is not None
