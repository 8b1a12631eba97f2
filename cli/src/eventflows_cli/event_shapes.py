"""Events as documents: the JSON of `log tail` and `log show`. Names come in as arguments. Pure."""

from __future__ import annotations

from catalog.metadata import metadata_of
from eventflows.events.v1 import events_pb2

from eventflows_cli.json_shapes import Json, of_message, of_time
from eventflows_cli.kinds import kind_of_event, stored_name


def of_event(recorded: events_pb2.RecordedEvent, *, stream_name: str, actor_name: str) -> Json:
    """One event with all its fields and metadata."""
    name = stored_name(recorded.event)
    kind = kind_of_event(name)
    which = recorded.event.WhichOneof("kind")
    about = metadata_of(recorded.metadata)
    return {
        "position": recorded.position,
        "time": of_time(recorded.time),
        "event": name,
        "kind": None if kind is None else kind.value,
        "stream_id": recorded.stream_id,
        "stream_name": stream_name,
        "version": recorded.version,
        "actor": about.actor,
        "actor_name": actor_name,
        "key_id": about.key_id,
        "command_id": about.command_id,
        "correlation_id": about.correlation_id,
        "traceparent": about.traceparent,
        "data": None if which is None else of_message(getattr(recorded.event, which)),
    }
