"""Moments of the log as messages."""

from __future__ import annotations

from datetime import UTC

from eventflows.registry.v1 import registry_pb2 as pb
from kernel.errors import InvalidInput

from registry.application.moments import AsOf, Moment


def as_of_from(message: pb.AsOf) -> AsOf:
    """What an `AsOf` asks for; an empty or absent one asks for now. Raises InvalidInput."""
    match message.WhichOneof("moment"):
        case "position":
            return message.position
        case "time":
            try:
                return message.time.ToDatetime(tzinfo=UTC)
            except (ValueError, OverflowError) as error:
                raise InvalidInput("as_of.time is no time between the years 1 and 9999") from error
        case _:
            return None


def moment_message(moment: Moment) -> pb.Moment:
    """The moment that an answer was resolved to."""
    message = pb.Moment(position=moment.position)
    message.time.FromDatetime(moment.time)
    return message
