"""Who and by which command: stored short, read as it was."""

from __future__ import annotations

import pytest
from catalog.events import Metadata
from catalog.metadata import metadata_message, metadata_of
from eventflows.events.v1 import events_pb2

UUID = "c0ffee00-1234-4abc-8def-000000000001"


def test_ids_that_are_uuids_take_sixteen_bytes() -> None:
    given = Metadata(actor=UUID, command_id=UUID, correlation_id=UUID, key_id=UUID)
    message = metadata_message(given)
    assert message.actor == message.command_id == message.correlation_id == message.key_id == ""
    assert len(message.SerializeToString()) == 4 * (16 + 2)
    assert metadata_of(message) == given


@pytest.mark.parametrize("text", ["service:operator", "", UUID.upper(), UUID.replace("-", ""), "é"])
def test_whatever_else_is_kept_letter_for_letter(text: str) -> None:
    given = Metadata(actor=text, command_id=text, correlation_id=text, key_id=text)
    assert metadata_of(metadata_message(given)) == given


def test_a_log_of_before_has_its_ids_as_text() -> None:
    message = events_pb2.Metadata(actor=UUID, command_id=UUID, traceparent="t")
    assert metadata_of(message) == Metadata(actor=UUID, command_id=UUID, traceparent="t")


def test_bytes_that_are_no_uuid_are_refused() -> None:
    with pytest.raises(ValueError, match="a uuid has 16"):
        metadata_of(events_pb2.Metadata(actor_uuid=b"short"))
