"""Lanes keep an order and nothing else."""

from collections import deque

import pytest
from catalog.events import DeliveryOrder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from router.domain.lanes import InLane, Lanes
from router.domain.turns import Queue, Turns


class Item(InLane):
    __slots__ = ("key", "name", "partition")

    def __init__(self, name: int, key: bytes | None = b"k", partition: int = 0) -> None:
        super().__init__()
        self.name = name
        self.key = key
        self.partition = partition


def added(lanes: Lanes[Item], *keys: bytes | None) -> list[tuple[Item, bool]]:
    items = [Item(number, key) for number, key in enumerate(keys)]
    return [(item, lanes.add(item, item.key)) for item in items]


def heads(order: DeliveryOrder, *keys: bytes | None) -> list[bool]:
    return [is_head for _, is_head in added(Lanes(order), *keys)]


def test_the_head_stays_until_it_is_finished() -> None:
    lanes: Lanes[Item] = Lanes(DeliveryOrder.KEY)
    (first, is_head), (second, is_second_head) = added(lanes, b"k", b"k")
    assert (is_head, is_second_head) == (True, False)
    assert lanes.finish(first) is second
    assert lanes.finish(second) is None
    assert len(lanes) == 0
    assert lanes.add(Item(3), b"k"), "an empty lane is gone, so its next item is a head again"


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (DeliveryOrder.KEY, [True, True, False, True, True]),
        (DeliveryOrder.PARTITION, [True, False, False, False, False]),
        (DeliveryOrder.NONE, [True, True, True, True, True]),
    ],
)
def test_what_may_run_at_once_is_a_matter_of_the_order(
    order: DeliveryOrder, expected: list[bool]
) -> None:
    assert heads(order, b"a", b"b", b"a", None, None) == expected


def test_an_empty_key_is_a_key() -> None:
    assert heads(DeliveryOrder.KEY, b"", b"", None) == [True, False, True]


ORDERS = st.sampled_from([DeliveryOrder.KEY, DeliveryOrder.PARTITION, DeliveryOrder.NONE])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    ORDERS,
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([None, b"", b"a", b"b"])), max_size=25),
    st.data(),
)
def test_every_item_runs_once_and_no_order_is_ever_broken(
    order: DeliveryOrder, arrivals: list[tuple[int, bytes | None]], data: st.DataObject
) -> None:
    lanes: dict[int, Lanes[Item]] = {number: Lanes(order) for number in range(3)}
    ready: dict[int, Queue[Item]] = {number: [] for number in range(3)}
    turns: Turns[Item] = Turns()
    to_come = deque(Item(name, key, partition) for name, (partition, key) in enumerate(arrivals))
    running: list[Item] = []
    begun: list[Item] = []
    while to_come or turns.count or running:
        can = ["come"] * bool(to_come) + ["begin"] * bool(turns.count) + ["end"] * bool(running)
        choice = data.draw(st.sampled_from(can))
        if choice == "come":
            item = to_come.popleft()
            if lanes[item.partition].add(item, item.key):
                turns.add(ready[item.partition], item.name, item)
        elif choice == "begin":
            begun.append(turns.take())
            running.append(begun[-1])
            assert not any(_ordered(order, begun[-1], other) for other in running[:-1])
        else:
            item = running.pop(data.draw(st.integers(0, len(running) - 1)))
            follower = lanes[item.partition].finish(item)
            if follower is not None:
                turns.add(ready[item.partition], follower.name, follower)
    assert sorted(item.name for item in begun) == list(range(len(arrivals)))
    for place, item in enumerate(begun):
        assert all(
            item.name < later.name for later in begun[place + 1 :] if _ordered(order, item, later)
        )
    assert [len(each) for each in lanes.values()] == [0, 0, 0]


def _ordered(order: DeliveryOrder, one: Item, other: Item) -> bool:
    """Do these two have to run in their order?"""
    if order is DeliveryOrder.NONE or one.partition != other.partition:
        return False
    return order is DeliveryOrder.PARTITION or (one.key is not None and one.key == other.key)
