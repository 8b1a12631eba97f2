"""`make bench [ONLY=name]`: measure, then write build/bench.json and docs/benchmarks.md."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

import uvloop

from tests.bench import (
    catalog_memory,
    log_appends,
    log_replay,
    log_size,
    log_start,
    log_watch,
    rest_listing,
    router_kafka,
)
from tests.bench.measurement import Measurement, keep

BENCHMARKS: dict[str, Callable[[], Awaitable[Measurement]]] = {
    "catalog.bytes_per_flow": catalog_memory.measure,
    "log.append_vs_pgbench": log_appends.measure_vs_pgbench,
    "log.append_vs_eventsourcing": log_appends.measure_vs_eventsourcing,
    "log.append_p99": log_appends.measure_p99,
    "log.bytes_per_event": log_size.measure,
    "log.start_100k": log_start.measure,
    "log.watch_delay": log_watch.measure,
    "log.replay_vs_copy": log_replay.measure_pages,
    "log.replay": log_replay.measure_catalog,
    "rest.listing_per_s": rest_listing.measure,
    "router.kafka_records_per_s": router_kafka.measure,
}


async def main(only: str | None) -> None:
    """Run all benchmarks or one, and keep each figure as soon as it is there."""
    if only is not None and only not in BENCHMARKS:
        raise SystemExit(f"no benchmark {only}; there are {', '.join(BENCHMARKS)}")
    for name in [only] if only else BENCHMARKS:
        print(f"{name} …", flush=True)
        figure = await BENCHMARKS[name]()
        keep([figure])
        print(
            f"{name}: {figure.value:,} {figure.unit}; {figure.reference}: "
            f"{figure.reference_value:,}; ratio {figure.ratio}",
            flush=True,
        )


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
