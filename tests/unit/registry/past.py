"""A log in memory, its projection, snapshots and moments: what tests of the past start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, TypeVar
from uuid import uuid4

from catalog.catalog import Catalog
from catalog.codec import encode
from catalog.events import AccountCreated, AccountKind
from prometheus_client import CollectorRegistry
from registry.adapters.memory_event_store import MemoryEventStore
from registry.adapters.memory_snapshots import MemorySnapshots
from registry.adapters.memory_timeline import MemoryTimeline
from registry.application.log_head import LogHead
from registry.application.log_pages import LogPages
from registry.application.metrics import RegistryMetrics
from registry.application.moments import Moments
from registry.application.projection import Projection, recorded
from registry.application.snapshotter import Snapshotter
from registry.entrypoints.recorded import encoded_events
from registry.ports.event_store import Append, EventStore, NewEvent

from tests.support.catalog_answers import answers
from tests.support.long_log import fill

EVENTS, TOPICS = 600, 20
S = TypeVar("S", bound=EventStore)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """Everything over one store."""

    store: MemoryEventStore
    head: LogHead
    snapshots: MemorySnapshots
    timeline: MemoryTimeline
    projection: Projection
    moments: Moments

    @classmethod
    def over(cls, store: MemoryEventStore, *, wait_s: float = 5.0) -> Self:
        """Nothing is read yet."""
        head = LogHead(metrics=RegistryMetrics(CollectorRegistry()))
        snapshots, timeline = MemorySnapshots(store), MemoryTimeline(store)
        projection = Projection(store, head, snapshots, LogPages(store, encode=encoded_events))
        return cls(
            store=store,
            head=head,
            snapshots=snapshots,
            timeline=timeline,
            projection=projection,
            moments=Moments(
                store=store,
                timeline=timeline,
                snapshots=snapshots,
                projection=projection,
                wait_s=wait_s,
            ),
        )

    async def grow(self, count: int) -> int:
        """So many more accounts, in one batch, known to everybody; the new head."""
        outcomes = await self.store.append([_account() for _ in range(count)])
        head = outcomes[-1].position
        await self.projection.reach(head)
        self.head.advance(head)
        return head

    def snapshotter(self, *, every_events: int) -> Snapshotter:
        """Not running."""
        return Snapshotter(
            store=self.store,
            snapshots=self.snapshots,
            projection=self.projection,
            head=self.head,
            every_events=every_events,
        )


async def filled(store: S, events: int = EVENTS) -> S:
    """A log of a believable cluster in an empty store."""
    await fill(store, events, topics=TOPICS)
    return store


async def folded(store: EventStore, position: int) -> Catalog:
    """The catalog at a position, straight from the log."""
    catalog = Catalog()
    while catalog.position < position:
        for stored in await store.read(catalog.position, limit=position - catalog.position):
            catalog.apply(recorded(stored))
    return catalog


def told(catalog: Catalog) -> dict[str, object]:
    """All that a catalog of the believable cluster answers."""
    ids = [account.account_id for account in catalog.accounts()]
    ids += [connection.connection_id for connection in catalog.connections()]
    ids += [flow.flow_id for flow in catalog.flows()[:5]]
    ids += [one.algorithm_id for id_ in ids[:3] for one in catalog.algorithms_of(id_)]
    return answers(catalog, ids=ids, topics=["orders-of-region-1"])


def _account() -> Append:
    account_id = str(uuid4())
    created = AccountCreated(
        account_id=account_id, kind=AccountKind.USER, username=account_id, email=account_id
    )
    return Append(
        command_id=account_id,
        request_hash=b"0" * 32,
        stream_id=account_id,
        category="account",
        expected_version=0,
        events=(NewEvent(name="account.created.v1", data=encode(created)),),
    )
