"""A catalog that tests feed with events, in the registry's place."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

from catalog.catalog import Catalog
from catalog.events import (
    AlgorithmCreated,
    BuildFinished,
    Callability,
    Event,
    FlowCreated,
    FlowDisabled,
    FlowEnabled,
    FlowKind,
    Metadata,
    RecordedEvent,
    SourceKind,
    VersionPublished,
)
from kernel.errors import TimedOut

OWNER = "0b1d3c52-0000-4000-8000-000000000001"
CALLER = "0b1d3c52-0000-4000-8000-000000000002"


class FedCatalog:
    """The runner's port `Configuration`; algorithms belong to `acme`, whose id is OWNER."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.age_s = 0.0
        self.caught_up = asyncio.Event()
        self.caught_up.set()
        self._versions: dict[str, int] = {}
        self._changed = asyncio.Condition()

    def staleness_s(self) -> float:
        return self.age_s

    async def wait_for(self, position: int, *, timeout_s: float) -> None:
        """As a follower does."""
        async with self._changed:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait_for(lambda: self.catalog.position >= position)
            except TimeoutError as error:
                raise TimedOut(f"position {position} is not known here") from error

    async def tell(self) -> None:
        """Whoever waits for a position looks again."""
        async with self._changed:
            self._changed.notify_all()

    def record(self, stream_id: str, event: Event) -> None:
        """The next event of the log."""
        version = self._versions.get(stream_id, 0) + 1
        self._versions[stream_id] = version
        self.catalog.apply(
            RecordedEvent(
                position=self.catalog.position + 1,
                stream_id=stream_id,
                version=version,
                time=datetime.now(UTC),
                metadata=Metadata(actor="service:operator", command_id=str(uuid4())),
                event=event,
            )
        )

    def add_algorithm(self, name: str, url: str, kind: SourceKind = SourceKind.GIT) -> str:
        """An algorithm `acme/<name>` without builds; gives its id."""
        algorithm_id = str(uuid4())
        created = AlgorithmCreated(
            algorithm_id=algorithm_id,
            owner_id=OWNER,
            owner_name="acme",
            name=name,
            source_kind=kind,
            source_url=url,
        )
        self.record(algorithm_id, created)
        return algorithm_id

    def publish(self, algorithm_id: str, commit_sha: str, version: str = "1.0.0") -> None:
        """A public version of a build that the registry is told of."""
        now = datetime.now(UTC)
        build_id = str(uuid4())
        finished = BuildFinished(
            algorithm_id=algorithm_id,
            build_id=build_id,
            commit_sha=commit_sha,
            succeeded=True,
            log_tail="",
            started_at=now,
            finished_at=now,
        )
        self.record(algorithm_id, finished)
        published = VersionPublished(
            algorithm_id=algorithm_id,
            version=version,
            build_id=build_id,
            commit_sha=commit_sha,
            callability=Callability.PUBLIC,
        )
        self.record(algorithm_id, published)

    def follow(self, algorithm_id: str) -> str:
        """A flow takes the algorithm's completions from now on; its id."""
        flow_id = str(uuid4())
        created = FlowCreated(
            flow_id=flow_id,
            kind=FlowKind.CHAIN,
            owner_id=OWNER,
            algorithm_id=algorithm_id,
            target_algorithm_id=algorithm_id,
        )
        self.record(flow_id, created)
        self.record(flow_id, FlowEnabled(flow_id=flow_id))
        return flow_id

    def disable(self, flow_id: str) -> None:
        """The flow stands still from now on."""
        self.record(flow_id, FlowDisabled(flow_id=flow_id))
