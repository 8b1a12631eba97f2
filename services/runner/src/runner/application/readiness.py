"""May this runner be sent runs? What `GET /healthz` and gRPC health say."""

from __future__ import annotations

from collections.abc import Callable

from kernel.errors import Unavailable

from runner.application.run_algorithm import RunAlgorithm


class Readiness:
    """Ready: the catalog has caught up once and is not stale, and Kafka takes completions."""

    def __init__(
        self,
        runs: RunAlgorithm,
        *,
        kafka_connected: Callable[[], bool],
    ) -> None:
        self._runs, self._kafka_connected = runs, kafka_connected

    def require(self) -> None:
        """Raises Unavailable with the sentence that says what is missing."""
        self._runs.require_ready()
        if not self._kafka_connected():
            raise Unavailable("Our Kafka, which takes the completions, cannot be reached.")
