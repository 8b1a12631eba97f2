"""Lanes keep the order of a key and nothing else."""

from router.domain.lanes import Lanes, lane_of

from tests.support.router_flows import delivery


def test_the_head_stays_until_it_is_finished() -> None:
    lanes: Lanes[str] = Lanes()
    lane = (0, b"k")
    assert lanes.add(lane, "first")
    assert not lanes.add(lane, "second")
    assert lanes.head(lane) == "first"
    assert lanes.finish(lane)
    assert lanes.head(lane) == "second"
    assert not lanes.finish(lane)
    assert lanes.add(lane, "third"), "an empty lane is gone, so its next item is a head again"


def test_the_same_key_on_two_partitions_is_two_lanes() -> None:
    assert lane_of(delivery(1)) != lane_of(delivery(1, partition=1))


def test_records_without_a_key_are_lanes_of_their_own() -> None:
    assert lane_of(delivery(1, key=None)) != lane_of(delivery(2, key=None))


def test_an_empty_key_is_a_key() -> None:
    assert lane_of(delivery(1, key=b"")) == lane_of(delivery(2, key=b""))
