"""Moments as the registry's messages have them."""

from __future__ import annotations

from datetime import UTC

from eventflows.registry.v1 import registry_pb2

from gateway.domain.moment import AsOf, Moment


def as_of_message(as_of: AsOf) -> registry_pb2.AsOf:
    """A position or an aware time."""
    if isinstance(as_of, int):
        return registry_pb2.AsOf(position=as_of)
    message = registry_pb2.AsOf()
    message.time.FromDatetime(as_of)
    return message


def moment_of(message: registry_pb2.Moment) -> Moment:
    """What a question was resolved to."""
    return Moment(position=message.position, time=message.time.ToDatetime(tzinfo=UTC))
