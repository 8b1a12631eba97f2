"""Folding is evolving, one event after the other."""

from collections.abc import Sequence

from kernel.decider import Decider

COUNTER: Decider[int, int, int] = Decider(
    initial=0,
    decide=lambda command, state: [command] if command > state else [],
    evolve=lambda state, event: state + event,
)


def test_no_events_leave_the_initial_state() -> None:
    assert COUNTER.fold([]) == COUNTER.initial


def test_events_are_folded_in_their_order() -> None:
    letters: Decider[str, str, str] = Decider(
        initial="",
        decide=lambda command, state: [command],
        evolve=lambda state, event: state + event,
    )
    assert letters.fold(iter("abc")) == "abc"


def test_folding_goes_on_from_a_given_state() -> None:
    assert COUNTER.fold([3, 4], state=10) == COUNTER.fold([10, 3, 4])


def test_a_command_that_finds_its_wish_fulfilled_yields_no_events() -> None:
    def run(command: int, history: Sequence[int]) -> Sequence[int]:
        return COUNTER.decide(command, COUNTER.fold(history))

    assert run(5, []) == [5]
    assert run(5, [5]) == []
