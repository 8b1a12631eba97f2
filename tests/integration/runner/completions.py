"""Completions to write."""

from __future__ import annotations

from uuid import uuid4

from runner.domain.completion import Completion


def completion(value: bytes = b"value") -> Completion:
    """Of an algorithm that nobody else uses."""
    headers = (("ef-status", b"succeeded"),)
    return Completion(algorithm_id=str(uuid4()), key=b"key", value=value, headers=headers)
