"""The six kinds of aggregates in the words of the command line. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from eventflows.catalog.v1 import catalog_pb2
from eventflows.events.v1 import events_pb2


class Kind(StrEnum):
    """What a stream is about."""

    ACCOUNT = "account"
    ALGORITHM = "algorithm"
    CONNECTION = "connection"
    TOPIC_ACCESS = "topic-access"
    FLOW = "flow"
    DEAD_LETTER_TASK = "dead-letter-task"

    @property
    def number(self) -> catalog_pb2.AggregateKind.ValueType:
        """The contract's number."""
        return catalog_pb2.AggregateKind.Value(f"AGGREGATE_KIND_{self.name}")

    @property
    def plural(self) -> str:
        """For headings."""
        if self is Kind.TOPIC_ACCESS:
            return "topics with access"
        return f"{self.value.replace('-', ' ')}s"


OF_NUMBER: Final = {kind.number: kind for kind in Kind}
_STORED_NAME: Final = {
    field.name: str(field.GetOptions().Extensions[events_pb2.stored_name])
    for field in events_pb2.Event.DESCRIPTOR.oneofs_by_name["kind"].fields
}


def stored_name(event: events_pb2.Event) -> str:
    """`flow.enabled.v1`; empty for a kind of a newer build."""
    which = event.WhichOneof("kind")
    return "" if which is None else _STORED_NAME[which]


def kind_of_event(name: str) -> Kind | None:
    """The kind whose stream holds events of this stored name."""
    category = name.partition(".")[0].replace("_", "-")
    return Kind(category) if category in set(Kind) else None


def in_words(name: str) -> str:
    """`account.api_key_created.v1` → `account API key created`."""
    category, _, rest = name.partition(".")
    what = rest.rpartition(".")[0]
    words = f"{category} {what}".replace("_", " ").replace("api key", "API key")
    return words if what else name or "an event of a newer build"
