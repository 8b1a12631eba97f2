"""How the topics of our own Kafka are made."""

from __future__ import annotations

import pytest
from router.adapters.internal_topics import TOPICS, InternalTopic, config_of


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_of_three_copies_two_must_have_a_record(topic: InternalTopic) -> None:
    assert config_of(topic, 3)["min.insync.replicas"] == "2"
    for copies in (1, 2):
        assert "min.insync.replicas" not in config_of(topic, copies), "one broker must be enough"
