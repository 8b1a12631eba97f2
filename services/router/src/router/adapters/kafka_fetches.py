"""Records of one consumer's partitions, fetched by ourselves and handed out at once.

aiokafka's own fetcher is parked. It makes a task for each fetch and goes round twice for each
answer, asks for every partition every time, throws away what it fetched of a paused one, and begins
before anybody knows from where; at some hundred records a second it was half of a worker's CPU
(ADR 0017). What is reached into for that stands here, in `kafka_fetched.py` and in
`kafka_fetch_exchange.py`.

Each broker that leads one of the partitions is asked by a task of its own. A fetch speaks for all
partitions from which something may be handed out, so whatever is appended first answers it. A
broker answers the requests of a connection one after the other, and a fetch that waits for records
is one: whatever else is asked there waits too, and a partition that is left out stands still. So it
waits long only while none is left out.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition, errors

from router.adapters.kafka_fetch_exchange import break_off
from router.adapters.kafka_fetch_session import FetchAnswer, FetchSession
from router.adapters.kafka_fetched import Fetched, Make, fetched, maker
from router.adapters.kafka_leader_search import NO_LEADER, LeaderSearch, pause_s
from router.adapters.kafka_node_fetches import FetchPlan, NodeFetches
from router.domain.delivery import Delivery
from router.domain.low_water import Mark
from router.domain.record_ages import RecordAges

FETCH_BYTES_MAX: Final = 1024 * 1024
"""From a broker far away no more comes in a round trip."""
PARTITION_FETCH_BYTES_MAX: Final = 256 * 1024
"""Fewer than four partitions share what a fetch may bring. A batch larger than that comes all the
same, whole. What was fetched and not handed out stands beside the worker's limit of bytes held, for
each partition of each of its flows."""
IDLE_WAIT_MS: Final = 2_000
"""How long a fetch waits at the broker, which answers as soon as there is a record."""
HELD_WAIT_MS: Final = 100
"""The same while some partition is left out."""
HOLD_S: Final = 0.1
"""How long what was fetched may wait for the reader before its broker is asked for the rest."""
LOOK_S: Final = 1.0
"""Of a broker from which nothing is wanted: nothing that it waits for needs it."""
FRESH_S: Final = 3 * IDLE_WAIT_MS / 1000
MOVED: Final = (
    errors.NotLeaderForPartitionError,
    errors.UnknownTopicOrPartitionError,
    errors.LeaderNotAvailableError,
    errors.ReplicaNotAvailableError,
    errors.KafkaStorageError,
)
"""Errors that pass when the cluster has settled; everybody asks it for news then."""


class KafkaFetches:
    """Records of one consumer that was started. `begin` for each assignment, then `take`."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        *,
        topic: str,
        read_committed: bool,
        retry_pause_s: float,
        arrived: Callable[[], None],
    ) -> None:
        """`arrived` is told when something can be taken. The consumer has not subscribed yet."""
        self._client: Any = consumer._client
        self._topic = topic
        self._read_committed = read_committed
        self._retry_pause_s = retry_pause_s
        self._arrived = arrived
        self._positions: dict[int, int] = {}
        """From where to fetch; first the partition that had none handed out for longest."""
        self._leaders: dict[int, int] = {}
        self._paused: set[int] = set()
        self._held: dict[int, Fetched] = {}
        self._refused_until_s: dict[int, float] = {}
        self._refusals: Counter[int] = Counter()
        """In a row, of each partition."""
        self._ends: dict[int, int] = {}
        self._nodes: dict[int, NodeFetches] = {}
        self._sessions: dict[int, FetchSession] = {}
        self._search = LeaderSearch(self._seek, first_s=retry_pause_s)
        self.ages: dict[int, RecordAges] = {}
        self.next_offsets: dict[int, int] = {}
        """Behind the last record of each partition that was handed out."""
        # Looks once for each assignment what there is to do, and finds nothing, for ever.
        consumer._fetcher._get_actions_per_node = lambda assignment: ([], {}, None, False, [])
        self._client.cluster.add_listener(lambda cluster: self._find_leaders())

    def begin(self, marks: Mapping[int, Mark]) -> None:
        """Fetch the partitions of a new assignment, from these positions on."""
        self._stop()
        self._positions = {number: mark.position for number, mark in marks.items()}
        self.next_offsets = dict(self._positions)
        self.ages = {number: RecordAges() for number in marks}
        self._find_leaders()

    def let_go(self) -> None:
        """Fetch nothing more; what was not handed out is dropped. Breaks off what waits at a
        broker, and would stand in the way of whatever is asked next."""
        self._stop()
        break_off(self._client)

    def pause(self, partitions: Iterable[int]) -> None:
        """Hand out nothing of these; what was fetched of them is kept."""
        self._paused.update(self._positions.keys() & partitions)

    def resume(self, partitions: Iterable[int]) -> bool:
        """Undo `pause`; was one of these paused?"""
        resumed = self._paused.intersection(partitions)
        self._paused -= resumed
        self._look_again()
        return bool(resumed)

    def take(self, records_max: int, *, epoch: int) -> list[Delivery]:
        """At most so many records, of all partitions in turn; none if none was fetched.

        Raises aiokafka's errors, Unavailable. What was taken before an error comes first, the error
        next time.
        """
        for node in self._nodes.values():
            node.check()
        deliveries: list[Delivery] = []
        if not self._held:
            return deliveries
        make = maker(self._topic, epoch)
        for number in [n for n in self._held if n not in self._paused]:
            held = self._held[number]
            if held.error is None:
                self._hand_out(number, held, deliveries, records_max, make)
            if held.error is not None:
                if deliveries:
                    break
                del self._held[number]
                raise held.error
            if len(deliveries) >= records_max:
                break
        self._look_again()
        return deliveries

    def hands_out(self, number: int) -> bool:
        """May records of this partition be taken, if there are any?"""
        return number in self._positions and number not in self._paused

    def position(self, number: int) -> int:
        """What is asked for next: beyond offsets without a record for us that were passed."""
        return self._positions.get(number, 0)

    def fresh_end(self, number: int) -> int | None:
        """Where a partition ends for us; None if its broker did not tell lately."""
        node = self._nodes.get(self._leaders.get(number, -1))
        if node is None or number in self._paused or number in self._held:
            return None
        if number not in node.asked or time.monotonic() - node.answered_s > FRESH_S:
            return None
        return self._ends.get(number)  # an answer says nothing of an end that it has told before

    # Handing out ----------------------------------------------------------------------------------

    def _hand_out(
        self, number: int, held: Fetched, deliveries: list[Delivery], records_max: int, make: Make
    ) -> None:
        """Move records over, and let the other partitions go first next time."""
        begin = len(deliveries)
        is_all = held.hand_out(deliveries, records_max, make)
        del self._held[number], self._positions[number]
        if not is_all:
            self._held[number] = held
        self._positions[number] = held.next_offset
        if len(deliveries) > begin:
            first, last = deliveries[begin], deliveries[-1]
            self.next_offsets[number] = last.offset + 1
            self.ages[number].received(first.offset, last.offset, first.timestamp_ms)

    # Fetching -------------------------------------------------------------------------------------

    def _plan(self, node_id: int) -> FetchPlan:
        """What to ask a broker: for all that it leads, from which something may be handed out."""
        now_s = time.monotonic()
        wanted: dict[int, int] = {}
        wait_ms, hold_s = IDLE_WAIT_MS, 0.0
        for number, position in self._positions.items():
            if self._leaders.get(number) != node_id:
                continue
            is_paused, held = number in self._paused, self._held.get(number)
            if held is not None and not is_paused:
                hold_s = max(hold_s, held.since_s + HOLD_S - now_s)
            if held is not None or is_paused or self._refused_until_s.get(number, 0.0) > now_s:
                wait_ms = HELD_WAIT_MS
            else:
                wanted[number] = position
        if not wanted:
            hold_s = self._retry_pause_s if self._refused_until_s else LOOK_S
        return FetchPlan(wanted, wait_ms, hold_s)

    def _on_answer(self, node: NodeFetches, answer: FetchAnswer) -> None:
        """Keep what came, unless it was asked of another broker as well, and that was quicker."""
        has_come = False
        for found in answer.partitions:
            number = found.partition
            position = node.asked.get(number)
            if position is None or number in self._held or self._positions[number] != position:
                continue
            if found.error_code:
                has_come |= self._refused(number, position, errors.for_code(found.error_code))
                continue
            if number in self._refusals:
                self._refused_no_more(number)
            self._ends[number] = found.stable if self._read_committed else found.highwater
            if found.records:
                self._held[number] = fetched(
                    self._topic, found, position=position, read_committed=self._read_committed
                )
                has_come = True
        if has_come:
            self._arrived()

    def _refused(self, number: int, position: int, kind: type[errors.KafkaError]) -> bool:
        """Is it an error for the reader?"""
        partition = TopicPartition(self._topic, number)
        if issubclass(kind, MOVED):
            self._refusals[number] += 1
            self._refused_until_s[number] = time.monotonic() + pause_s(
                self._refusals[number], first_s=self._retry_pause_s
            )
            self._client.force_metadata_update()
            return False
        told = {partition: position} if kind is errors.OffsetOutOfRangeError else self._topic
        self._held[number] = Fetched(partition, None, kind(told))
        return True

    def _refused_no_more(self, number: int) -> None:
        self._refused_until_s.pop(number, None)
        self._refusals.pop(number, None)

    def _find_leaders(self) -> None:
        """Ask whoever leads the partitions now; look for leaders until all of them have one. News
        of the cluster have `receive` ask as well whether the topic is still the same."""
        if not self._positions:
            return
        leader_of = self._client.cluster.leader_for_partition
        found = {n: leader_of(TopicPartition(self._topic, n)) for n in self._positions}
        leaders = {n: node_id for n, node_id in found.items() if node_id not in NO_LEADER}
        for number in leaders:
            if leaders[number] != self._leaders.get(number):
                self._refused_no_more(number)
        self._leaders = leaders
        for node_id in set(leaders.values()) - self._nodes.keys():
            self._nodes[node_id] = self._node(node_id)
        self._look_again()
        self._search.for_leaders_of(frozenset(found.keys() - leaders.keys()))

    def _seek(self) -> None:
        self._client.force_metadata_update()
        self._find_leaders()

    def _node(self, node_id: int) -> NodeFetches:
        session = self._sessions.get(node_id)
        if session is None:
            session = self._sessions[node_id] = FetchSession(
                self._topic,
                read_committed=self._read_committed,
                bytes_max=FETCH_BYTES_MAX,
            )
        session.partition_bytes_max = max(
            PARTITION_FETCH_BYTES_MAX, FETCH_BYTES_MAX // len(self._positions)
        )
        return NodeFetches(
            self._client,
            node_id,
            session=session,
            plan=self._plan,
            answered=self._on_answer,
            retry_pause_s=self._retry_pause_s,
        )

    def _look_again(self) -> None:
        for node in self._nodes.values():
            node.look_again()

    def _stop(self) -> None:
        for node in self._nodes.values():
            node.cancel()
        self._search.end()
        for kept in (self._nodes, self._positions, self._leaders, self._paused, self._held):
            kept.clear()
        self._refused_until_s.clear()
        self._refusals.clear()
        self._ends.clear()
