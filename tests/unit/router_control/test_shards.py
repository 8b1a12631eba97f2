"""What a worker owns: told by the group, limited by time."""

from __future__ import annotations

from collections import Counter

import pytest
from router.application.shards import (
    CONFIRMATION_AGE_MAX_S,
    SHARDS,
    ShardOwnership,
    shard_of,
)

from tests.support.manual_clock import ManualClock

FLOW_ID = "0b5c1f5e-8a57-5a3c-9d4b-0c6f1d2e3a4b"


def ownership_at(clock: ManualClock) -> tuple[ShardOwnership, list[frozenset[int]]]:
    """An ownership, and what it owned at each change that it told."""
    ownership = ShardOwnership(monotonic_s=clock.monotonic_s)
    told: list[frozenset[int]] = []
    ownership.on_change(lambda: told.append(ownership.owned))
    return ownership, told


def test_the_shard_of_a_flow_never_changes() -> None:
    # Another number here means that every flow of every cluster would move with the release.
    assert shard_of(FLOW_ID) == 0
    assert shard_of(FLOW_ID, instance=1) == 50


def test_flows_spread_over_all_shards() -> None:
    counts = Counter(shard_of(f"flow-{n}") for n in range(6_400))
    assert set(counts) == set(range(SHARDS))
    assert max(counts.values()) < 200


@pytest.mark.parametrize(("workers", "mean", "mostly"), [(2, 0.07, 0.16), (3, 0.14, 0.27)])
def test_200_flows_spread_over_workers_as_a_hash_spreads_them(
    workers: int, mean: float, mostly: float
) -> None:
    """The share of the fullest worker above an even one, of 400 sets of flows; see the README."""
    excess = []
    for number in range(400):
        counts = Counter(shard_of(f"{number}/{flow}") * workers // SHARDS for flow in range(200))
        excess.append(max(counts.values()) * workers / 200 - 1)
    assert sum(excess) / len(excess) < mean
    assert sorted(excess)[380] < mostly


def test_nothing_is_owned_before_the_group_says_so() -> None:
    ownership, told = ownership_at(ManualClock())
    assert (ownership.owned, ownership.joined, ownership.lost) == (frozenset(), False, False)
    ownership.assign([3, 5])
    assert ownership.owned == {3, 5}
    assert ownership.joined
    assert told == [{3, 5}]


def test_a_worker_without_shards_is_a_member_all_the_same() -> None:
    ownership, _ = ownership_at(ManualClock())
    ownership.assign([])
    assert ownership.joined


def test_without_a_confirmation_everything_is_lost_after_a_while() -> None:
    clock = ManualClock()
    ownership, _ = ownership_at(clock)
    ownership.assign(range(SHARDS))
    clock.advance(CONFIRMATION_AGE_MAX_S)
    assert ownership.owned == set(range(SHARDS))
    clock.advance(0.1)
    assert (ownership.owned, ownership.joined, ownership.lost) == (frozenset(), False, True)
    assert ownership.assigned == set(range(SHARDS))


def test_a_confirmation_counts_from_when_it_was_asked_for() -> None:
    clock = ManualClock()
    ownership, _ = ownership_at(clock)
    ownership.assign([1])
    asked_s = clock.monotonic_s()
    clock.advance(CONFIRMATION_AGE_MAX_S + 1)
    ownership.confirm(at_s=asked_s)
    assert ownership.lost


def test_an_older_confirmation_takes_nothing_back() -> None:
    clock = ManualClock()
    ownership, _ = ownership_at(clock)
    ownership.assign([1])
    clock.advance(10)
    ownership.confirm(at_s=clock.monotonic_s())
    ownership.confirm(at_s=0.0)
    clock.advance(CONFIRMATION_AGE_MAX_S)
    assert ownership.owned == {1}


def test_a_confirmation_brings_lost_shards_back_and_tells() -> None:
    clock = ManualClock()
    ownership, told = ownership_at(clock)
    ownership.assign([1, 2])
    clock.advance(CONFIRMATION_AGE_MAX_S + 1)
    ownership.confirm(at_s=clock.monotonic_s())
    assert ownership.owned == {1, 2}
    assert told == [{1, 2}, {1, 2}]


def test_a_confirmation_makes_no_member_of_a_worker_that_never_joined() -> None:
    clock = ManualClock()
    ownership, told = ownership_at(clock)
    ownership.confirm(at_s=clock.monotonic_s())
    assert not ownership.joined
    assert told == []


def test_releasing_gives_everything_away() -> None:
    ownership, told = ownership_at(ManualClock())
    ownership.assign([1])
    ownership.release()
    assert (ownership.owned, ownership.joined) == (frozenset(), False)
    assert told == [{1}, frozenset()]


def test_a_partition_that_is_no_shard_is_refused_and_changes_nothing() -> None:
    ownership, told = ownership_at(ManualClock())
    with pytest.raises(ValueError, match="shards are 0 to 63"):
        ownership.assign([1, SHARDS])
    assert ownership.assigned == frozenset()
    assert told == []


def test_owning_a_flow_means_owning_its_shard() -> None:
    ownership, _ = ownership_at(ManualClock())
    ownership.assign([shard_of(FLOW_ID)])
    assert ownership.owns(FLOW_ID)
    ownership.assign(set(range(SHARDS)) - {shard_of(FLOW_ID)})
    assert not ownership.owns(FLOW_ID)
