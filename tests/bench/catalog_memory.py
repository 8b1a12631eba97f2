"""`catalog.bytes_per_flow`: what one of 100,000 flows takes in a catalog, read from the log."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator

from catalog import snapshot
from catalog.catalog import Catalog
from registry.application.projection import recorded
from registry.ports.event_store import StoredEvent

from tests.bench.measurement import Measurement, measured
from tests.support.event_log import START
from tests.support.long_log import ACCOUNTS, ALGORITHMS, CONNECTIONS, cluster

FLOWS = 100_000
EVENTS = ACCOUNTS + ALGORITHMS + CONNECTIONS + 3 * FLOWS
LIMIT_BYTES = 2_000


async def measure() -> Measurement:
    """Traced allocations, which any allocator's rounding and fragments come on top of."""
    return await asyncio.to_thread(_measure)


def _measure() -> Measurement:
    tracemalloc.start()
    try:
        catalog, log_bytes = _folded()
        gc.collect()
        folded_bytes, _ = tracemalloc.get_traced_memory()
        parts = list(snapshot.dump(catalog))
        flows = len(catalog.flows())
        del catalog
        gc.collect()
        before_bytes, _ = tracemalloc.get_traced_memory()
        restored = snapshot.restore(parts)
        gc.collect()
        restored_bytes = tracemalloc.get_traced_memory()[0] - before_bytes
        assert len(restored.flows()) == flows == FLOWS
    finally:
        tracemalloc.stop()
    return measured(
        "catalog.bytes_per_flow",
        [folded_bytes / FLOWS],
        unit="bytes a flow in memory",
        reference="its events in the log, data and metadata",
        reference_values=[log_bytes / FLOWS],
        packages=["msgspec"],
        notes={
            "limit": LIMIT_BYTES,
            "restored from a snapshot": round(restored_bytes / FLOWS),
            "bytes of a snapshot a flow": round(sum(map(len, parts)) / FLOWS),
            "flows": FLOWS,
        },
    )


def _folded() -> tuple[Catalog, int]:
    """(the catalog, bytes of its log), nothing else left in memory."""
    catalog, log_bytes = Catalog(), 0
    for stored in _stored():
        log_bytes += len(stored.data) + len(stored.metadata)
        catalog.apply(recorded(stored))
    return catalog, log_bytes


def _stored() -> Iterator[StoredEvent]:
    """The log of a believable cluster as a store gives it out: bytes, nothing shared."""
    position = 0
    for command in cluster(EVENTS, topics=FLOWS):
        for version, event in enumerate(command.events, start=command.expected_version + 1):
            position += 1
            yield StoredEvent(
                position=position,
                stream_id=command.stream_id,
                version=version,
                name=event.name,
                time=START,
                data=event.data,
                metadata=command.metadata,
            )
