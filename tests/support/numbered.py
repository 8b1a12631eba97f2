"""Records with a number each, for algorithms that answer with it."""

from __future__ import annotations

import json
from typing import Any

from examples.demo.records import DemoRecord


def numbered_records(count: int, *, keys: int, first: int = 0, **extra: Any) -> list[DemoRecord]:
    """`count` records from number `first` on over `keys` keys; `extra` goes into each body."""
    return [
        DemoRecord(
            number=number,
            key=f"key-{number % keys}".encode(),
            value=json.dumps({"id": number, **extra}).encode(),
            digit=number % 10,
        )
        for number in range(first, first + count)
    ]
