"""The decider: how an aggregate turns commands into events and events into state.

Both functions are pure. `decide` may refuse by raising an error of the kernel's tree; a command
that finds its wish fulfilled yields no events. `evolve` never refuses: what happened has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Command = TypeVar("Command")
State = TypeVar("State")
Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class Decider(Generic[Command, State, Event]):
    """An aggregate: `decide(command, state) -> events`, `evolve(state, event) -> state`."""

    initial: State
    decide: Callable[[Command, State], Sequence[Event]]
    evolve: Callable[[State, Event], State]

    def fold(self, events: Iterable[Event], *, state: State | None = None) -> State:
        """The state after `events`, from `state` or from the initial one."""
        folded = self.initial if state is None else state
        for event in events:
            folded = self.evolve(folded, event)
        return folded
