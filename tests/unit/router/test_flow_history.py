"""Completions are judged by what the registry says, not by how much of it has arrived here."""

from __future__ import annotations

import asyncio

import pytest
from catalog.catalog import Catalog
from catalog.records import FlowChange
from kernel.errors import TimedOut, Unavailable
from router.adapters.memory_broker import MemoryBroker
from router.application import flow_history, session
from router.application.flow_history import CatalogFlowHistory
from router.domain.status import PumpState

from tests.support.event_log import EventLog
from tests.support.manual_clock import let_others_run
from tests.support.router_flows import COMPLETION, PUBLISHER, KnownHistory, with_header
from tests.support.router_pumps import running_pump


class LaggingHistory(KnownHistory):
    """Knows what `known` says, and `reached` lets it know the rest."""

    def __init__(self, *changes: FlowChange) -> None:
        super().__init__(*changes)
        self.reached = asyncio.Event()
        self.asked: list[int] = []
        self.away = False

    async def reach(self, position: int) -> None:
        self.asked.append(position)
        if self.away:
            raise Unavailable("the catalog is behind")
        await self.reached.wait()


async def test_a_completion_of_a_version_that_we_have_not_heard_of_waits_for_the_catalog() -> None:
    broker, history = MemoryBroker(), LaggingHistory(FlowChange(7, "1.2.3"))
    headers = with_header(COMPLETION, "ef-position", b"100")
    broker.append(b"new", key=b"k", headers=with_header(headers, "ef-version", b"2.0.0"))
    async with running_pump(PUBLISHER, broker=broker, history=history) as bench:
        await bench.until_state(PumpState.RUNNING)
        await let_others_run()
        assert history.asked == [100]
        assert broker.commits == []
        history.known = (FlowChange(7, "1.2.3"), FlowChange(95, "2.0.0"))
        history.reached.set()
        await bench.until_settled(1)
        assert bench.target.values == [b"new"]


async def test_a_catalog_that_stays_behind_is_trouble_and_settles_nothing() -> None:
    broker, history = MemoryBroker(), LaggingHistory()
    history.away = True
    broker.append(b"new", key=b"k", headers=COMPLETION)
    async with running_pump(PUBLISHER, broker=broker, history=history) as bench:
        await bench.until_state(PumpState.BACKING_OFF)
        assert "behind" in bench.pump.status().reason
        assert broker.commits == []


async def test_a_catalog_that_was_behind_for_long_is_gone_on_with_as_soon_as_it_is_there() -> None:
    """The source stays open meanwhile: each new start would have been later than the last."""
    broker, history = MemoryBroker(), LaggingHistory(FlowChange(7, "1.2.3"))
    history.away = True
    broker.append(b"new", key=b"k", headers=COMPLETION)
    async with running_pump(PUBLISHER, broker=broker, history=history) as bench:
        await bench.until_state(PumpState.BACKING_OFF)
        for _ in range(50):
            bench.clock.advance(1.0)
            await let_others_run()
        history.away = False
        history.reached.set()
        bench.clock.advance(1.0)
        await bench.until_settled(1)
        assert bench.source.opened == 1
        assert bench.pump.status().state is PumpState.RUNNING


async def test_a_catalog_that_never_comes_lets_the_source_be_opened_anew() -> None:
    """A source that is not polled for minutes would lose its partitions."""
    broker, history = MemoryBroker(), LaggingHistory()
    history.away = True
    broker.append(b"new", key=b"k", headers=COMPLETION)
    async with running_pump(PUBLISHER, broker=broker, history=history) as bench:
        await bench.clock.run_until(lambda: bench.source.opened == 2, step_s=1.0)
        assert bench.clock.monotonic_s() >= session.BEHIND_MAX_S
        assert broker.commits == []


async def test_a_catalog_that_was_behind_is_no_trouble_of_a_source_that_has_nothing_more() -> None:
    broker, history = MemoryBroker(), LaggingHistory()
    history.away = True
    broker.append(b"new", key=b"k", headers=COMPLETION)
    async with running_pump(PUBLISHER, broker=broker, history=history) as bench:
        await bench.until_state(PumpState.BACKING_OFF)
        bench.source.hung = True
        await bench.clock.run_until(lambda: bench.source.opened == 2, step_s=1.0)
        await bench.until_state(PumpState.RUNNING)


class Feed:
    """A catalog that the test moves on."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.waited: list[int] = []

    @property
    def catalog(self) -> Catalog:
        return self.log.catalog()

    async def wait_for(self, position: int, *, timeout_s: float) -> None:
        self.waited.append(position)
        raise TimedOut("not yet")


async def test_what_is_known_is_not_waited_for_and_the_rest_is_not_waited_for_for_ever() -> None:
    feed = Feed(EventLog())
    flow = CatalogFlowHistory(feed, flow_id="f")
    await flow.reach(feed.catalog.position)
    assert feed.waited == []
    with pytest.raises(Unavailable):
        await flow.reach(feed.catalog.position + 1)
    assert feed.waited == [feed.catalog.position + 1]
    assert flow_history.REACH_MAX_S < 10
