"""The dead letter topics of flows' own connections. They belong to customers: we write letters
there and read them, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kernel.errors import InvalidInput, NotFound, StateForbids

from router.application.plans import CatalogFeed
from router.dead_letter_ports import LetterTopic

OpenTopic = Callable[[str, str], LetterTopic]
"""Connection id and topic; connects at the first question. The caller closes it."""
NONE_OF_ITS_OWN: Final = (
    "The flow has no dead letter topic of its own: ask without it, its dead letters are in the "
    "internal topic."
)


class OwnTopics:
    """As the catalog has them now; of a flow that is disabled the one that it had last."""

    def __init__(self, feed: CatalogFeed, open_topic: OpenTopic) -> None:
        self._feed = feed
        self._open_topic = open_topic

    def name(self, flow_id: str) -> str:
        """The flow's own dead letter topic; empty: it has none, or is gone."""
        flow = self._feed.catalog.flow(flow_id)
        return "" if flow is None else flow.own_dead_letter_topic

    def open(self, flow_id: str) -> tuple[str, LetterTopic]:
        """Its name and itself. Raises InvalidInput, NotFound, StateForbids without one."""
        if not flow_id:
            raise InvalidInput("Name the flow whose own dead letter topic is meant.")
        flow = self._feed.catalog.flow(flow_id)
        if flow is None:
            raise NotFound(f"There is no flow {flow_id}.")
        name = flow.own_dead_letter_topic
        if not name or flow.channel is None:
            raise StateForbids(NONE_OF_ITS_OWN)
        return name, self._open_topic(flow.channel.connection_id, name)
