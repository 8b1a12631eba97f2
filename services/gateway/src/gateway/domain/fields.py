"""Fields of requests that the registry never sees as they are sent here.

Everything else is checked once, by the registry's aggregates, whose sentences name the field.
Every function raises InvalidInput that names the field as the REST body names it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from uuid import UUID

from kernel.errors import InvalidInput

TOPIC_CHARACTERS_MAX = 249  # Kafka's own limit

_TOPIC = re.compile(r"[a-zA-Z0-9._-]+")
_COMMIT_SHA = re.compile(r"[0-9a-f]{40}")
_REFERENCE = re.compile(r"(?:algo://)?([a-zA-Z][a-zA-Z0-9_]*)/([a-zA-Z][a-zA-Z0-9_]*)")


def topic(value: str, *, field: str = "topic") -> str:
    """The name of a Kafka topic."""
    if not _TOPIC.fullmatch(value) or len(value) > TOPIC_CHARACTERS_MAX or value in (".", ".."):
        raise InvalidInput(
            f"{field} must be a Kafka topic: letters, digits, '.', '_' and '-', "
            f"at most {TOPIC_CHARACTERS_MAX} characters"
        )
    return value


def commit_sha(value: str, *, field: str = "commitSha") -> str:
    """A whole git commit id, or empty for the head of the default branch."""
    if value and not _COMMIT_SHA.fullmatch(value):
        raise InvalidInput(f"{field} must be 40 lower-case hex digits, or be left out")
    return value


def one_of(value: str, choices: Collection[str], *, field: str) -> str:
    """One of a few words."""
    if value not in choices:
        raise InvalidInput(f"{field} must be one of {', '.join(choices)}")
    return value


def algorithm_reference(value: str, *, field: str = "algorithm") -> tuple[str, str]:
    """(owner, name) of `owner/name`, also with `algo://` before it."""
    match = _REFERENCE.fullmatch(value)
    if match is None:
        raise InvalidInput(f"{field} must be owner/name, for example demo/Resize")
    return match[1], match[2]


def is_uuid(value: str) -> bool:
    """Is it an id? Names cannot hold a `-`, so a UUID with its dashes is never a name."""
    try:
        return str(UUID(value)) == value.lower()
    except ValueError:
        return False
