"""`make bench [ONLY=name] [SCALE=0.1]`: measure, write build/bench.json and docs/benchmarks.md.

`ONLY=router` is all names that begin so. With a SCALE below 1 the figures are shown, not kept.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pprint import pprint

import uvloop

from tests.bench import (
    catalog_memory,
    flows_10k,
    http_client,
    log_appends,
    log_replay,
    log_size,
    log_start,
    log_watch,
    membership,
    rest_listing,
    router_idle,
    router_keyed_slow,
    router_large,
    router_latency,
    router_publish,
    router_repeats,
    router_throughput,
    router_workers,
)
from tests.bench.measurement import SCALE, Measurement, keep

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
    "router.http_client": http_client.measure,
    "router.membership": membership.measure,
    "router.throughput": router_throughput.measure,
    "router.keyed_slow": router_keyed_slow.measure,
    "router.latency": router_latency.measure,
    "router.repeats": router_repeats.measure,
    "router.publish": router_publish.measure,
    "router.idle_flows": router_idle.measure,
    "router.workers": router_workers.measure,
    "router.large_record": router_large.measure,
    "router.change_10k": flows_10k.measure,
}


async def main(only: str) -> None:
    """Run all benchmarks or some, and keep each figure as soon as it is there."""
    wanted = [only] if only in BENCHMARKS else [n for n in BENCHMARKS if n.startswith(only)]
    if not wanted:
        raise SystemExit(f"no benchmark {only}; there are {', '.join(BENCHMARKS)}")
    for name in wanted:
        print(f"{name} …", flush=True)
        figure = await BENCHMARKS[name]()
        if SCALE < 1:
            pprint(asdict(figure), sort_dicts=False)
        else:
            keep([figure])
        print(
            f"{name}: {figure.value:,} {figure.unit}; {figure.reference}: "
            f"{figure.reference_value:,}; ratio {figure.ratio}; {'; '.join(figure.aims)}",
            flush=True,
        )


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1].rstrip("*") if len(sys.argv) > 1 else ""))
