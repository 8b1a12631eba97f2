"""Completions in memory: for tests, with the same promises as `KafkaCompletions` but durability."""

from __future__ import annotations

from catalog.identifiers import completions_topic
from kernel.errors import TooLarge, Unavailable

from runner.domain.completion import Completion
from runner.domain.limits import COMPLETION_BYTES_MAX


class MemoryCompletions:
    """Port `Completions`. `topics` holds what was written, in order; `reachable` can be taken."""

    def __init__(self) -> None:
        self.topics: dict[str, list[Completion]] = {}
        self.reachable = True

    async def write(self, completion: Completion) -> None:
        """See `ports.Completions`."""
        await self.prepare(completion.algorithm_id)
        if len(completion.key) + len(completion.value) > COMPLETION_BYTES_MAX:
            raise TooLarge("The completion is larger than a topic takes.")
        self.topics[completions_topic(completion.algorithm_id)].append(completion)

    async def prepare(self, algorithm_id: str) -> None:
        """See `ports.Completions`."""
        if not self.reachable:
            raise Unavailable("The completions cannot be reached.")
        self.topics.setdefault(completions_topic(algorithm_id), [])
