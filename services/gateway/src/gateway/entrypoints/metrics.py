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
)


def observe(protocol: str, operation: str, status: str, duration_s: float) -> None:
    """Count one answered request."""
    _REQUESTS.labels(protocol, operation, status).inc()
    _DURATION.labels(protocol, operation).observe(duration_s)
