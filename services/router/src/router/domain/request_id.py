"""The id of a run, derived so that every attempt and every worker has the same one (promise 4).

A uuid v5 as RFC 9562 has it, made of the digest by hand: `uuid.uuid5` takes four times as long, and
one is made for every record. The namespace and what is the same for all records of a flow are
hashed once.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from catalog.identifiers import EVENTFLOWS_NAMESPACE

from router.domain.delivery import Delivery

if TYPE_CHECKING:
    from hashlib import _Hash

FLOWS_KEPT_MAX: Final = 1_024
"""Hashes that are kept begun, one for each flow and generation: more than a worker has flows."""
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 0b11] for digit in "0123456789abcdef"}


def request_id(delivery: Delivery, *, flow_id: str, generation: int) -> str:
    """`req-` and a uuid v5 of flow, coordinates and generation.

    The record's timestamp belongs to its coordinates: a topic that was deleted and made again
    starts at offset 0 once more.
    """
    topic, partition, offset, timestamp_ms = delivery[:4]
    digest = _begun(flow_id, generation).copy()
    digest.update(f"{topic}/{partition}/{offset}/{timestamp_ms}".encode())
    text = digest.hexdigest()
    variant = _VARIANT[text[16]]
    return f"req-{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


@lru_cache(maxsize=FLOWS_KEPT_MAX)
def _begun(flow_id: str, generation: int) -> _Hash:
    begun = hashlib.sha1(EVENTFLOWS_NAMESPACE.bytes, usedforsecurity=False)
    begun.update(f"run/{flow_id}/{generation}/".encode())
    return begun
