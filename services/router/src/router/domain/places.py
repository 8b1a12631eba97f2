"""Which flow instances have one of a worker's places, and which wait for one.

Who has a place keeps it for as long as it is wanted, so that nothing that runs is stopped for
something that does not; who waits comes in the order of its name.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Instance(NamedTuple):
    """One instance of a flow."""

    flow_id: str
    number: int


class Places(Generic[T]):
    """At most `capacity_max` places; `T` is what is wanted of an instance."""

    def __init__(self, *, capacity_max: int) -> None:
        self.capacity_max = capacity_max
        self.taken: dict[Instance, T] = {}
        self.waiting: dict[Instance, T] = {}

    def want(self, instance: Instance, wish: T) -> None:
        """The instance shall run as `wish` says; it keeps its place, or waits for one."""
        if instance in self.taken:
            self.taken[instance] = wish
        else:
            self.waiting[instance] = wish

    def give_up(self, instance: Instance) -> None:
        """The instance shall not run here. Harmless twice."""
        self.taken.pop(instance, None)
        self.waiting.pop(instance, None)

    def fill(self) -> list[tuple[Instance, T]]:
        """Give the free places to those that wait; who got one."""
        free = self.capacity_max - len(self.taken)
        if not self.waiting or free <= 0:
            return []
        given = [(one, self.waiting.pop(one)) for one in nsmallest(free, self.waiting)]
        self.taken.update(given)
        return given
