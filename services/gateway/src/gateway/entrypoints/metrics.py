"""What both entry points count."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_REQUESTS = Counter(
    "eventflows_gateway_requests_total",
    "Requests answered, by protocol, operation and status",
    ["protocol", "operation", "status"],
)
_DURATION = Histogram(
    "eventflows_gateway_request_duration_seconds",
    "Time until the answer, or for runs until its first byte",
    ["protocol", "operation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 300, 3_000),
)


def observe(protocol: str, operation: str, status: str, duration_s: float) -> None:
    """Count one answered request."""
    _REQUESTS.labels(protocol, operation, status).inc()
    _DURATION.labels(protocol, operation).observe(duration_s)
