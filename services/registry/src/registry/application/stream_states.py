"""States of streams as bytes: what is kept of a stream when its first events are archived.

The state of an aggregate as MessagePack, field by field. The events behind it are in files only, so
an encoding is for ever: a field may be added with a default; a change of meaning gets a new name in
FORMATS and a way to read the old one. Golden files hold each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import msgspec
from kernel.errors import StateForbids

from registry.domain import (
    account,
    algorithm,
    connection,
    dead_letter_task,
    flow,
    topic_access,
)
from registry.domain.aggregates import ALL, Aggregate
from registry.ports.archive import StreamState

AGGREGATES: Final = MappingProxyType({one.category: one for one in ALL})
_TYPES: Final[MappingProxyType[str, Any]] = MappingProxyType(
    {
        "account": account.Account,
        "algorithm": algorithm.Algorithm,
        "connection": connection.Connection,
        "topic_access": topic_access.TopicAccess,
        "flow": flow.Flow,
        "dead_letter_task": dead_letter_task.DeadLetterTask,
    }
)
FORMATS: Final = MappingProxyType({category: f"{category}.v1" for category in _TYPES})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptState:
    """An aggregate's state after `version` events."""

    aggregate: Aggregate
    version: int
    state: Any


def encode(stream_id: str, kept: KeptState) -> StreamState:
    """As it is stored."""
    return StreamState(
        stream_id=stream_id,
        version=kept.version,
        format=FORMATS[kept.aggregate.category],
        state=msgspec.msgpack.encode(kept.state),
    )


def decode(stored: StreamState) -> KeptState:
    """As domain code knows it. Raises StateForbids for a format that this build does not know."""
    category = stored.format.partition(".")[0]
    if FORMATS.get(category) != stored.format:
        raise StateForbids(
            f"the state of stream {stored.stream_id} was kept as {stored.format}, which this build "
            "does not know: use the build that archived it, or a newer one"
        )
    try:
        state = msgspec.msgpack.decode(stored.state, type=_TYPES[category])
    except msgspec.MsgspecError as error:
        raise StateForbids(
            f"the kept state of stream {stored.stream_id} cannot be read: "
            "restore the log from its archive and archive it again"
        ) from error
    return KeptState(aggregate=AGGREGATES[category], version=stored.version, state=state)
