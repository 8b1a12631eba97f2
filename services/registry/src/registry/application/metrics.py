"""What the registry measures. Times in seconds, sizes in bytes, as Prometheus wants them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)


class RegistryMetrics:
    """One set per process, on the collector that is served."""

    def __init__(self, collector: CollectorRegistry) -> None:
        self.appends = Counter(
            "registry_appends",
            "Commands handed to the log, by outcome.",
            ["outcome"],
            registry=collector,
        )
        self.batch_size = Histogram(
            "registry_append_batch_commands",
            "Commands in one call of the log.",
            buckets=_BATCH_BUCKETS,
            registry=collector,
        )
        self.append_seconds = Histogram(
            "registry_append_seconds",
            "Time of one call of the log, in seconds.",
            buckets=_SECONDS_BUCKETS,
            registry=collector,
        )
        self.append_failures = Counter(
            "registry_append_failures", "Calls of the log that failed, by error.", ["error"],
            registry=collector,
        )  # fmt: skip
        self.waiting = Gauge(
            "registry_append_waiting_commands",
            "Commands that wait to be appended.",
            registry=collector,
        )
        self.watchers = Gauge("registry_watchers", "Open Watch streams.", registry=collector)
        self.head_position = Gauge(
            "registry_head_position", "Position of the newest known event.", registry=collector
        )
        self.partition_room = Gauge(
            "registry_partition_room_events",
            "Events that the log has room for before it needs another partition.",
            registry=collector,
        )
        self.swept_secrets = Counter(
            "registry_swept_secrets", "Secrets that no event named and that were destroyed.",
            registry=collector,
        )  # fmt: skip
