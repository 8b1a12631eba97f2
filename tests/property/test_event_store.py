"""Random commands, conflicts, repeats, claims, crashes and overlapping calls: the store does what
the model says, and its log is sound at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, Protocol, TypeVar
from uuid import UUID

import asyncpg
import pytest
from devstack import Postgres
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from kernel.errors import Unavailable
from registry.adapters.memory_event_store import MemoryEventStore
from registry.adapters.postgres_event_store import PostgresEventStore
from registry.ports.event_store import Append, EventStore, NewEvent, Outcome, Status

from tests.support.answer_losing_proxy import AnswerLosingProxy, answer_losing_proxy
from tests.support.event_store_model import EventStoreModel
from tests.support.recomputed_chain import assert_sound
from tests.support.registry import Database, append_of, fresh_database

STREAMS = tuple(str(UUID(int=number)) for number in range(1, 7))
NAMES = ("name/a", "name/b", "name/c")
TYPES = ("account.created.v1", "flow.enabled.v1", "flow.disabled.v1")
CALL_TIMEOUT_S = 30.0
Answer = TypeVar("Answer")


class World(Protocol):
    """A store that can be made to fail."""

    store: EventStore

    async def append_and_lose_the_answer(self, batch: Sequence[Append]) -> None:
        """The batch is stored; the caller gets Unavailable."""

    async def die_in_mid_append(self, batch: Sequence[Append]) -> None:
        """Nothing of the batch is stored; the caller gets Unavailable."""

    async def lose_connections(self) -> None:
        """All connections of the store break while nothing happens."""

    async def close(self) -> None: ...


class MemoryWorld:
    """The store in memory: its crashes are told, not made."""

    def __init__(self) -> None:
        self.store: EventStore = MemoryEventStore()

    async def append_and_lose_the_answer(self, batch: Sequence[Append]) -> None:
        await self.store.append(batch)

    async def die_in_mid_append(self, batch: Sequence[Append]) -> None:
        pass

    async def lose_connections(self) -> None:
        pass

    async def close(self) -> None:
        pass


class PostgresWorld:
    """The real store, behind a proxy, with a superuser who ends its backends."""

    def __init__(
        self,
        stack: AsyncExitStack,
        store: PostgresEventStore,
        proxy: AnswerLosingProxy,
        superuser: asyncpg.Connection[Any],
    ) -> None:
        self.store: EventStore = store
        self._stack = stack
        self._proxy = proxy
        self._superuser = superuser

    @classmethod
    async def open(cls, postgres: Postgres) -> PostgresWorld:
        stack = AsyncExitStack()
        database: Database = await fresh_database(postgres)
        proxy = await stack.enter_async_context(answer_losing_proxy(database.log_dsn))
        store = await stack.enter_async_context(
            PostgresEventStore(proxy.dsn_through(database.log_dsn))
        )
        superuser = await asyncpg.connect(database.owner_dsn)
        stack.push_async_callback(superuser.close)
        await store.append([append_of(0)])  # prepared and connected: the model knows nothing of it
        return cls(stack, store, proxy, superuser)

    async def append_and_lose_the_answer(self, batch: Sequence[Append]) -> None:
        await self._reconnected()
        self._proxy.lose_next_answer()
        with pytest.raises(Unavailable):
            await self.store.append(batch)

    async def die_in_mid_append(self, batch: Sequence[Append]) -> None:
        await self._reconnected()
        async with self._superuser.transaction():
            await self._superuser.execute("SELECT FROM log.head FOR UPDATE")
            waiting = asyncio.create_task(self.store.append(batch))
            while not await self._ended(waiting_only=True):
                assert not waiting.done(), waiting.result()
        with pytest.raises(Unavailable):
            await waiting

    async def lose_connections(self) -> None:
        await self._ended(waiting_only=False)

    async def close(self) -> None:
        await self._stack.aclose()

    async def _reconnected(self) -> None:
        """A broken connection is noticed by its next use: use it."""
        for _ in range(3):
            try:
                await self.store.append([append_of(0)])
            except Unavailable:
                continue
            return
        raise AssertionError("the store does not come back")

    async def _ended(self, *, waiting_only: bool) -> int:
        rows = await self._superuser.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend' AND (NOT $1 OR wait_event_type = 'Lock')",
            waiting_only,
        )
        return len(rows)


@st.composite
def commands(draw: st.DrawFn) -> Append:
    """Any command on few streams and names; ids are drawn from few as well, so that some repeat."""
    number = draw(st.integers(1, 60))
    names = st.lists(st.sampled_from(NAMES), max_size=2, unique=True).map(tuple)
    return Append(
        command_id=str(UUID(int=1_000 + number)),
        request_hash=bytes([draw(st.sampled_from((1, 1, 1, 2)))]) * 32,
        stream_id=draw(st.sampled_from(STREAMS)),
        category="account",
        expected_version=draw(st.integers(-1, 1)),  # to be added to what the model knows
        events=tuple(
            NewEvent(name=name, data=draw(st.binary(max_size=20)))
            for name in draw(st.lists(st.sampled_from(TYPES), max_size=3))
        ),
        metadata=draw(st.binary(max_size=10)),
        claims=draw(names),
        releases=draw(names),
    )


batches = st.lists(commands(), min_size=1, max_size=5)


class StoreMachine(RuleBasedStateMachine):
    """A store and a model that are told the same."""

    def __init__(self, open_world: Callable[[], Coroutine[Any, Any, World]]) -> None:
        super().__init__()
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._world = self._run(open_world())
        self._model = EventStoreModel()
        self._acknowledged: dict[str, Outcome] = {}

    @rule(drawn=batches)
    def append(self, drawn: Sequence[Append]) -> None:
        batch = self._fitted(drawn)
        self._expect(batch, self._run(self._world.store.append(batch)))

    @rule(drawn=batches)
    def append_and_lose_the_answer(self, drawn: Sequence[Append]) -> None:
        batch = self._fitted(drawn)
        self._run(self._world.append_and_lose_the_answer(batch))
        self._model.append(batch)
        self._expect(batch, self._run(self._world.store.append(batch)))  # asked again

    @rule(drawn=batches, again=st.booleans())
    def die_in_mid_append(self, drawn: Sequence[Append], again: bool) -> None:
        batch = self._fitted(drawn)
        self._run(self._world.die_in_mid_append(batch))
        if again:
            self._expect(batch, self._run(self._world.store.append(batch)))

    @rule(drawn=batches)
    def lose_connections_and_go_on(self, drawn: Sequence[Append]) -> None:
        batch = self._fitted(drawn)
        self._run(self._world.lose_connections())
        self._expect(batch, self._run(self._stubbornly(batch)))

    @rule(drawn=batches)
    def append_in_two_calls_at_once(self, drawn: Sequence[Append]) -> None:
        batch = self._fitted(drawn)
        one, two = batch[::2], batch[1::2]
        outcomes_one, outcomes_two = self._run(self._both(one, two))
        begins = [
            min((o.position for o in outcomes if o.status is Status.STORED), default=0)
            for outcomes in (outcomes_one, outcomes_two)
        ]
        calls = [(one, outcomes_one), (two, outcomes_two)]
        if begins[0] > begins[1]:
            calls.reverse()
        for call, outcomes in calls:
            self._expect(call, outcomes)

    def teardown(self) -> None:
        try:
            self._run(self._check_the_end())
        finally:
            self._run(self._world.close())
            self._runner.close()

    async def _check_the_end(self) -> None:
        store = self._world.store
        events = await assert_sound(store)
        assert [(e.stream_id, e.version, e.data) for e in events] == self._model.events
        for command_id, known in self._model.commands.items():
            assert await store.find_command(command_id) == known
        for command_id, outcome in self._acknowledged.items():
            assert self._model.commands[command_id].position == outcome.position

    def _fitted(self, drawn: Sequence[Append]) -> Sequence[Append]:
        """Those that may go together, each with a version near the stream's."""
        batch: list[Append] = []
        touched: set[str] = set()
        for one in drawn:
            touches = {one.command_id, one.stream_id, *one.claims, *one.releases}
            if not touches & touched:
                version = self._model.versions.get(one.stream_id, 0)
                batch.append(_at_version(one, max(0, version + min(0, one.expected_version))))
                touched |= touches
        return batch

    def _expect(self, batch: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        assert list(outcomes) == self._model.append(batch)
        for one, outcome in zip(batch, outcomes, strict=True):
            if outcome.status is Status.STORED:
                assert one.command_id not in self._acknowledged, "stored twice"
                self._acknowledged[one.command_id] = outcome

    async def _both(
        self, one: Sequence[Append], two: Sequence[Append]
    ) -> tuple[Sequence[Outcome], Sequence[Outcome]]:
        first, second = await asyncio.gather(
            self._world.store.append(one), self._world.store.append(two)
        )
        return first, second

    async def _stubbornly(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        while True:
            try:
                return await self._world.store.append(batch)
            except Unavailable:
                continue  # each try throws one broken connection away

    def _run(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        async def bounded() -> Answer:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await call

        return self._runner.run(bounded())


def _at_version(one: Append, version: int) -> Append:
    return Append(
        command_id=one.command_id,
        request_hash=one.request_hash,
        stream_id=one.stream_id,
        category=one.category,
        expected_version=version,
        events=one.events,
        metadata=one.metadata,
        claims=one.claims,
        releases=one.releases,
    )


def machine(open_world: Callable[[], Coroutine[Any, Any, World]]) -> type[StoreMachine]:
    """The machine over one kind of world; Hypothesis makes one for each run."""

    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__(open_world)

    return Machine


def _settings(*, examples: int, steps: int, derandomize: bool) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=derandomize,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def test_the_store_in_memory_does_what_the_model_says() -> None:
    async def open_world() -> World:
        return MemoryWorld()

    run_state_machine_as_test(
        machine(open_world),
        settings=_settings(examples=50, steps=25, derandomize=True),
    )


def test_the_store_on_postgresql_does_what_the_model_says(postgres: Postgres) -> None:
    run_state_machine_as_test(
        machine(lambda: PostgresWorld.open(postgres)),
        settings=_settings(examples=8, steps=20, derandomize=True),
    )


@pytest.mark.fault
@pytest.mark.timeout(900)
def test_the_store_on_postgresql_does_what_the_model_says_at_length(postgres: Postgres) -> None:
    run_state_machine_as_test(
        machine(lambda: PostgresWorld.open(postgres)),
        settings=_settings(examples=40, steps=40, derandomize=False),
    )
