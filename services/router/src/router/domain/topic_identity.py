"""Which topic a position belongs to, as text that stands with each commit.

    t:<topic id>:<partitions>;<whatever else stands there>

A topic that was deleted and made anew has the same name and another id (Kafka 2.8 or newer): a
position in the old one means nothing in the new one, and only the id can tell. `partitions` is how
many there were when the flow began: a partition with a higher number was added later, and is read
from its beginning whatever the flow's start rule says.

A commit without this text was made by a person (Kafka's own tool writes none), or by a broker that
keeps no metadata: it is believed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_TEXT: Final = re.compile(r"t:([0-9a-f]{32}|):(\d{1,7});(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicIdentity:
    """A topic, told from others of its name. `topic_id` is empty if the broker gives none."""

    topic_id: str
    partitions: int

    @property
    def prefix(self) -> str:
        """What `split_identity` reads back."""
        return f"t:{self.topic_id}:{self.partitions};"

    def is_another(self, other: TopicIdentity) -> bool:
        """Surely not the same topic; False if one of them has no id."""
        return bool(self.topic_id and other.topic_id and self.topic_id != other.topic_id)


def split_identity(text: str) -> tuple[TopicIdentity | None, str]:
    """The identity at the beginning of a commit's text, and the rest."""
    found = _TEXT.fullmatch(text)
    if found is None:
        return None, text
    identity = TopicIdentity(topic_id=found[1], partitions=int(found[2]))
    return identity, found[3]
