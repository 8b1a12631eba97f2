"""A build that the gateway asks for: by the builder of the algorithm's kind of source."""

from __future__ import annotations

from collections.abc import Mapping

from catalog.events import SourceKind
from kernel.errors import NotFound

from runner.ports import Builder, BuildReport, Configuration


class BuildAlgorithm:
    """The use case."""

    def __init__(
        self, *, configuration: Configuration, builders: Mapping[SourceKind, Builder]
    ) -> None:
        self._configuration, self._builders = configuration, builders

    async def build(self, algorithm_id: str, commit_sha: str) -> BuildReport:
        """Raises NotFound for an algorithm that the catalog does not know (yet), Overloaded."""
        algorithm = self._configuration.catalog.algorithm(algorithm_id)
        if algorithm is None:
            raise NotFound(f"This runner knows no algorithm {algorithm_id}: try again in a moment.")
        builder = self._builders.get(algorithm.source_kind)
        if builder is None:
            raise NotFound(f"This runner builds no sources of kind {algorithm.source_kind.name}.")
        return await builder.build(algorithm, commit_sha)
