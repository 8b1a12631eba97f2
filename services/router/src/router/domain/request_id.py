"""The id of a run, derived so that every attempt and every worker has the same one (promise 4)."""

from __future__ import annotations

from uuid import uuid5

from catalog.identifiers import EVENTFLOWS_NAMESPACE

from router.domain.delivery import Delivery


def request_id(delivery: Delivery, *, flow_id: str, generation: int) -> str:
    """`req-` and a uuid v5 of flow, coordinates and generation.

    The record's timestamp belongs to its coordinates: a topic that was deleted and made again
    starts at offset 0 once more.
    """
    coordinates = f"{delivery.topic}/{delivery.partition}/{delivery.offset}/{delivery.timestamp_ms}"
    return f"req-{uuid5(EVENTFLOWS_NAMESPACE, f'run/{flow_id}/{generation}/{coordinates}')}"
