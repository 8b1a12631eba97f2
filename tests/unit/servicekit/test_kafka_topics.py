"""Topics of our own: which are made, and what is set on one that exists already."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import NodeNotReadyError
from servicekit.kafka_topics import copies_of, created_topics, in_sync_of, raised

ON_TOPIC, DEFAULT = 1, 5
"""Where a setting comes from: numbers of Kafka's DescribeConfigs."""
TWO_IN_SYNC = {"min.insync.replicas": 2}


class _NobodyLeads:
    """A client that the cluster tells of no controller."""

    cluster = SimpleNamespace(controller=None)
    _request_timeout_ms = 1_000

    async def force_metadata_update(self) -> bool:
        return True


async def test_a_cluster_without_a_controller_is_asked_again_like_one_that_is_away() -> None:
    admin = AIOKafkaAdminClient()
    admin._client = _NobodyLeads()
    with pytest.raises(NodeNotReadyError, match="no controller"):
        await created_topics(admin, [NewTopic("mine", 1, 1)])


def test_two_must_be_in_sync_from_three_copies_on() -> None:
    assert [dict(in_sync_of(copies)) for copies in (1, 2, 3, 4)] == [
        {},
        {},
        TWO_IN_SYNC,
        TWO_IN_SYNC,
    ]


def test_a_topic_has_as_many_copies_as_its_partition_with_the_fewest() -> None:
    assert copies_of({"partitions": [{"replicas": [1, 2, 3]}, {"replicas": [1, 2]}]}) == 2


def test_what_is_too_low_is_raised_and_what_the_topic_says_itself_stays() -> None:
    described = [
        ("retention.ms", "3600000", ON_TOPIC),
        ("segment.ms", "604800000", DEFAULT),
        ("min.insync.replicas", "1", DEFAULT),
    ]
    assert raised(described, TWO_IN_SYNC) == {
        "retention.ms": "3600000",
        "min.insync.replicas": "2",
    }


def test_what_was_set_too_low_by_hand_is_raised_as_well() -> None:
    described = [("min.insync.replicas", "1", ON_TOPIC)]
    assert raised(described, TWO_IN_SYNC) == {"min.insync.replicas": "2"}


def test_what_is_enough_is_left_alone_whoever_has_set_it() -> None:
    for value, source in (("2", DEFAULT), ("3", ON_TOPIC)):
        described = [("min.insync.replicas", value, source), ("retention.ms", "1", ON_TOPIC)]
        assert raised(described, TWO_IN_SYNC) == {}
