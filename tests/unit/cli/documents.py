"""Documents as commands make them, and how they look: without color, 120 characters wide."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone

from eventflows.events.v1 import events_pb2
from eventflows_cli.event_shapes import of_event
from eventflows_cli.json_shapes import Json
from rich.console import Console, RenderableType

ZONE = timezone(timedelta(hours=1), "CET")
TIME = datetime(2026, 11, 24, 9, 30, 0, 250_000, tzinfo=UTC)
MOMENT = {"position": 42, "time": "2026-11-24T09:30:00.250000Z"}
WIDTH = 120


def drawn(renderable: RenderableType, *, width: int = WIDTH) -> str:
    """What a terminal shows, without the spaces at the ends of lines."""
    console = Console(
        file=io.StringIO(), width=width, color_system=None, markup=False, highlight=False
    )
    with console.capture() as captured:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def recorded(
    position: int, event: events_pb2.Event, *, stream_id: str = "s-1", version: int = 1
) -> events_pb2.RecordedEvent:
    """An event of the log with all of its metadata."""
    message = events_pb2.RecordedEvent(
        position=position,
        stream_id=stream_id,
        version=version,
        event=event,
        metadata=events_pb2.Metadata(
            actor="a-1",
            command_id="c-1",
            correlation_id="r-1",
            traceparent="00-t-s-01",
            key_id="k-1",
        ),
    )
    message.time.FromDatetime(TIME)
    return message


def event_document(position: int = 7, *, name: str = "plant", actor: str = "acme") -> Json:
    """A connection that was updated."""
    updated = events_pb2.ConnectionUpdated(
        connection_id="s-1",
        name=name,
        bootstrap_servers=["kafka1:9093", "kafka2:9093"],
        security_protocol=events_pb2.SECURITY_PROTOCOL_SASL_SSL,
        credentials=events_pb2.SecretRef(secret_id="x-1", fingerprint=bytes(8)),
    )
    message = recorded(position, events_pb2.Event(connection_updated=updated), version=2)
    return of_event(message, stream_name=name, actor_name=actor)
