"""Kafka's errors become ours, and say what to do."""

import pytest
from aiokafka import errors
from kernel.errors import EventflowsError, InvalidInput, NotAllowed, NotFound, TooLarge, Unavailable
from router.adapters.kafka_errors import kafka_errors
from router.domain.errors import PositionLost, StaleAssignment


@pytest.mark.parametrize(
    ("code", "meaning", "words"),
    [
        (1, PositionLost, "set the group's offsets"),
        (2, Unavailable, "a header's name is no UTF-8"),
        (3, NotFound, "UnknownTopic"),
        (10, TooLarge, "MessageSizeTooLarge"),
        (22, StaleAssignment, "IllegalGeneration"),
        (25, StaleAssignment, "UnknownMember"),
        (29, NotAllowed, "DESCRIBE and READ on the topic"),
        (30, NotAllowed, "READ on that group"),
        (31, NotAllowed, "IDEMPOTENT_WRITE"),
        (81, Unavailable, "GroupMaxSizeReached"),
        (82, StaleAssignment, "FencedInstanceId"),
        (87, InvalidInput, "takes no record without a key"),
        (88, Unavailable, "UnstableOffsetCommit"),
    ],
)
def test_each_code_has_its_meaning(code: int, meaning: type[EventflowsError], words: str) -> None:
    with pytest.raises(meaning, match=words) as caught, kafka_errors("doing it"):
        raise errors.for_code(code)
    assert type(caught.value) is meaning
    assert caught.value.message.startswith("doing it: ")


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError(), OSError(5, "io")])
def test_a_broker_that_is_away_is_unavailable(error: Exception) -> None:
    with pytest.raises(Unavailable, match="doing it"), kafka_errors("doing it"):
        raise error
