"""Who and by which command, as the log stores it: ids that are uuids take 16 bytes, not 36.

A log of before has them as text; both are read.
"""

from __future__ import annotations

from uuid import UUID

from eventflows.events.v1 import events_pb2

from catalog.events import Metadata


def metadata_message(metadata: Metadata) -> events_pb2.Metadata:
    """As it is stored."""
    message = events_pb2.Metadata(traceparent=metadata.traceparent)
    message.actor, message.actor_uuid = _stored(metadata.actor)
    message.command_id, message.command_uuid = _stored(metadata.command_id)
    message.correlation_id, message.correlation_uuid = _stored(metadata.correlation_id)
    message.key_id, message.key_uuid = _stored(metadata.key_id)
    return message


def metadata_of(message: events_pb2.Metadata) -> Metadata:
    """As everybody reads it. Raises ValueError when bytes of an id are not 16."""
    return Metadata(
        actor=message.actor or _text(message.actor_uuid),
        command_id=message.command_id or _text(message.command_uuid),
        correlation_id=message.correlation_id or _text(message.correlation_uuid),
        traceparent=message.traceparent,
        key_id=message.key_id or _text(message.key_uuid),
    )


def _stored(text: str) -> tuple[str, bytes]:
    """(text, b"") or ("", 16 bytes); bytes only for what comes back letter for letter."""
    try:
        uuid = UUID(text)
    except ValueError:
        return text, b""
    return ("", uuid.bytes) if str(uuid) == text else (text, b"")


def _text(uuid: bytes) -> str:
    """Cut from the digits: the class UUID takes three times as long, and every replay pays it."""
    if not uuid:
        return ""
    if len(uuid) != 16:
        raise ValueError(f"an id of {len(uuid)} bytes: a uuid has 16")
    digits = uuid.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
