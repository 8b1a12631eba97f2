"""The demo's records: real handwritten digits that the algorithm has never seen."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sklearn.datasets import load_digits


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRecord:
    """One record to produce. `number` is dense from 0 and rises along the records of each key."""

    number: int
    key: bytes
    value: bytes
    digit: int


def demo_records(count: int, *, keys: int) -> list[DemoRecord]:
    """`count` records spread over `keys` keys: the unseen half of the digits, again and again."""
    images, digits = load_digits(return_X_y=True)
    unseen_images, unseen_digits = images[1::2], digits[1::2]
    bodies = [[int(pixel) for pixel in image] for image in unseen_images]
    return [
        DemoRecord(
            number=number,
            key=f"camera-{number % keys:02d}".encode(),
            value=json.dumps({"id": number, "pixels": bodies[number % len(bodies)]}).encode(),
            digit=int(unseen_digits[number % len(bodies)]),
        )
        for number in range(count)
    ]
