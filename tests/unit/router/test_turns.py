"""Turns are fair, and what is due comes in time."""

from hypothesis import given
from hypothesis import strategies as st
from router.domain.due_queue import DueQueue
from router.domain.turns import Queue, Turns


def test_a_long_queue_does_not_starve_a_short_one() -> None:
    turns: Turns[str] = Turns()
    hot: Queue[str] = []
    cold: Queue[str] = []
    for number in range(1_000):
        turns.add(hot, number, f"hot {number}")
    turns.add(cold, 0, "cold 0")
    turns.add(cold, 1, "cold 1")
    assert [turns.take() for _ in range(5)] == ["hot 0", "cold 0", "hot 1", "cold 1", "hot 2"]


@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 3), st.integers(0, 9)))))
def test_each_queue_gives_its_lowest_rank_and_waits_at_most_one_round(
    steps: list[tuple[int, int] | None],
) -> None:
    turns: Turns[tuple[int, int]] = Turns()
    queues: list[Queue[tuple[int, int]]] = [[] for _ in range(4)]
    model: list[set[int]] = [set() for _ in range(4)]
    passed_over = [0] * 4
    for number, step in enumerate(steps):
        if step is not None:
            queue, rank = step[0], step[1] * 1_000 + number
            turns.add(queues[queue], rank, (queue, rank))
            model[queue].add(rank)
        elif turns.count:
            queue, rank = turns.take()
            assert rank == min(model[queue])
            model[queue].remove(rank)
            for other in range(4):
                waits = other != queue and bool(model[other])
                passed_over[other] = passed_over[other] + 1 if waits else 0
            assert max(passed_over) <= 3
        assert turns.count == sum(map(len, model))


def test_after_a_clear_there_is_nothing() -> None:
    turns: Turns[int] = Turns()
    queue: Queue[int] = []
    turns.add(queue, 0, 1)
    turns.clear()
    assert (turns.count, len(queue)) == (0, 0)
    turns.add(queue, 0, 2)
    assert turns.take() == 2


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99))), st.integers(0, 10))
def test_what_is_due_comes_by_its_time_and_then_in_the_order_of_its_coming(
    waits: list[tuple[int, int]], now: int
) -> None:
    queue: DueQueue[int] = DueQueue()
    earliest = None
    for due, item in waits:
        is_earliest = earliest is None or due < earliest
        assert queue.add(due, item) == is_earliest
        earliest = due if is_earliest else earliest
    assert queue.next_s == earliest
    in_order = sorted(waits, key=lambda wait: wait[0])
    assert queue.take_due(now) == [item for due, item in in_order if due <= now]
    assert len(queue) == sum(1 for due, _ in waits if due > now)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_items_are_due_earlier_if_that_is_asked_for_and_never_later(
    waits: list[tuple[int, int]],
) -> None:
    queue: DueQueue[int] = DueQueue()
    for due, item in waits:
        queue.add(due, item)
    queue.hasten(lambda item: item if item % 2 else None)
    dues = [(min(due, item) if item % 2 else due, item) for due, item in waits]
    assert queue.take_due(9) == [item for _, item in sorted(dues, key=lambda wait: wait[0])]
