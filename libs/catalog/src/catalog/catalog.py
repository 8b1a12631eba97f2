"""The read model: everything that the log has told so far, in memory, found in one step.

A `Catalog` changes by `apply` alone, one event after the other in the order of the log, so two
catalogs at the same position are equal. It never refuses what happened; it refuses a gap. Not safe
for threads: one event loop owns it. Nothing here is a secret (`SecretRef` is a reference).

Price: the whole configuration lives in every process (less than 2 kB a flow).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, assert_never

from catalog import events
from catalog.account_table import AccountImage, AccountTable
from catalog.algorithm_table import AlgorithmImage, AlgorithmTable
from catalog.connection_table import (
    AccessImage,
    AccessTable,
    ConnectionImage,
    ConnectionTable,
)
from catalog.dead_letter_task_table import DeadLetterTaskImage, DeadLetterTaskTable
from catalog.errors import PositionGap
from catalog.events import ApiType, BrokerKind, RecordedEvent
from catalog.flow_index import FlowImage, FlowIndex
from catalog.flow_table import FlowTable, topic_channel
from catalog.records import (
    Account,
    Algorithm,
    ApiKey,
    Connection,
    DeadLetterTask,
    Flow,
    TopicAccess,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogImage:
    """Everything that a catalog holds, as it stood at `position`: what a snapshot is made of."""

    position: int
    accounts: AccountImage
    algorithms: AlgorithmImage
    connections: ConnectionImage
    access: AccessImage
    flows: FlowImage
    dead_letter_tasks: DeadLetterTaskImage


class Catalog:
    """Accounts, algorithms, connections, grants, flows and dead letter tasks as of `position`."""

    def __init__(self) -> None:
        self.position = 0
        """Position of the newest applied event; 0 before the first."""
        self._accounts = AccountTable()
        self._algorithms = AlgorithmTable()
        self._connections = ConnectionTable()
        self._access = AccessTable()
        self._flows = FlowTable()
        self._index = self._flows.index
        self._tasks = DeadLetterTaskTable()

    # ---- as a whole ----------------------------------------------------------------------------

    @classmethod
    def of(cls, image: CatalogImage) -> Self:
        """The catalog that had this image. The image must not be used any more."""
        catalog = cls()
        catalog._take(image)
        return catalog

    def image(self) -> CatalogImage:
        """A copy that later events do not change; the records are shared. Some 10 ms at 100,000
        flows, so that what takes long with it may be done in another thread."""
        return CatalogImage(
            position=self.position,
            accounts=self._accounts.image(),
            algorithms=self._algorithms.image(),
            connections=self._connections.image(),
            access=self._access.image(),
            flows=self._index.image(),
            dead_letter_tasks=self._tasks.image(),
        )

    def begin_with(self, image: CatalogImage) -> None:
        """Stand where the image stood, in place of reading the log up to there.

        Only for a catalog that has read nothing yet; raises PositionGap otherwise. The image must
        not be used any more.
        """
        if self.position:
            raise PositionGap(
                f"a catalog at position {self.position} cannot begin anew at {image.position}: "
                f"read the log after position {self.position}"
            )
        self._take(image)

    def _take(self, image: CatalogImage) -> None:
        self._accounts = AccountTable.of(image.accounts)
        self._algorithms = AlgorithmTable.of(image.algorithms)
        self._connections = ConnectionTable.of(image.connections)
        self._access = AccessTable.of(image.access)
        self._flows = FlowTable(FlowIndex.of(image.flows))
        self._index = self._flows.index
        self._tasks = DeadLetterTaskTable.of(image.dead_letter_tasks)
        self.position = image.position

    # ---- look-ups ------------------------------------------------------------------------------

    def account(self, account_id: str) -> Account | None:
        """By id."""
        return self._accounts.get(account_id)

    def account_named(self, username: str) -> Account | None:
        """By its unique name, in the spelling it was created with."""
        return self._accounts.named(username)

    def key_owner(self, key_sha256: bytes) -> tuple[Account, ApiKey] | None:
        """The account of a live API key, by the key's SHA-256 (32 bytes)."""
        return self._accounts.key_owner(key_sha256)

    def accounts(self) -> tuple[Account, ...]:
        """All accounts, oldest first."""
        return self._accounts.all()

    def algorithm(self, algorithm_id: str) -> Algorithm | None:
        """By id."""
        return self._algorithms.get(algorithm_id)

    def algorithm_named(self, owner_name: str, name: str) -> Algorithm | None:
        """By `owner_name/name`."""
        return self._algorithms.named(owner_name, name)

    def algorithms(self) -> tuple[Algorithm, ...]:
        """All algorithms, oldest first."""
        return self._algorithms.all()

    def algorithms_of(self, account_id: str) -> tuple[Algorithm, ...]:
        """The account's algorithms, oldest first."""
        return self._algorithms.of_owner(account_id)

    def connection(self, connection_id: str) -> Connection | None:
        """By id; None for a deleted one."""
        return self._connections.get(connection_id)

    def connections(self) -> tuple[Connection, ...]:
        """The connections that are not deleted, oldest first."""
        return self._connections.all()

    def deleted_connection_name(self, connection_id: str) -> str | None:
        """The name that a deleted connection had; None for one that lives or never did."""
        return self._connections.deleted_name(connection_id)

    def topic_access(self, connection_id: str, topic: str) -> TopicAccess | None:
        """What was saved last for the topic, even when it grants nothing; None: never saved."""
        return self._access.get(connection_id, topic)

    def topic_access_by_id(self, topic_access_id: str) -> TopicAccess | None:
        """The same by the id of its stream."""
        return self._access.by_id(topic_access_id)

    def topic_accesses(self) -> tuple[TopicAccess, ...]:
        """Whatever was saved last for each topic, also of deleted connections."""
        return self._access.all()

    def topics_with_access(self, connection_id: str) -> tuple[TopicAccess, ...]:
        """Topics of a live connection that grant something, in the order of their first save."""
        if self._connections.get(connection_id) is None:
            return ()
        return self._access.of_connection(connection_id)

    def is_granted(
        self, *, connection_id: str, topic: str, algorithm_id: str, api_type: ApiType
    ) -> bool:
        """Does this grant stand? A deleted connection does not take its grants away."""
        return self._access.is_granted(
            connection_id=connection_id, topic=topic, algorithm_id=algorithm_id, api_type=api_type
        )

    def flow(self, flow_id: str) -> Flow | None:
        """By id; None for one that was deleted, or whose grant went before anybody enabled it."""
        return self._index.get(flow_id)

    def flows(self) -> tuple[Flow, ...]:
        """All flows of the cluster, in the order in which the log first told of them."""
        return self._index.all()

    def flows_of_algorithm(self, algorithm_id: str) -> tuple[Flow, ...]:
        """The flows that run this algorithm or follow its completions."""
        return self._index.of_algorithm(algorithm_id)

    def listeners_of(self, account_id: str) -> tuple[Flow, ...]:
        """The account's event listeners: its flows on queues, oldest first."""
        return self._index.listeners_of(account_id)

    def enabled_flow_ids(self) -> tuple[str, ...]:
        """Ids of the enabled flows, by `enabled_position`. Blocked ones are among them."""
        return self._index.enabled_ids()

    def enabled_readers(self, connection_id: str, topic: str) -> tuple[Flow, ...]:
        """Enabled subscriber flows of a Kafka topic."""
        return self._index.reading(connection_id, topic)

    def enabled_followers(self, algorithm_id: str) -> tuple[Flow, ...]:
        """Enabled publisher and chain flows that take this algorithm's completions."""
        return self._index.following(algorithm_id)

    def is_followed(self, algorithm_id: str) -> bool:
        """Does an enabled publisher or chain flow take its completions?

        A blocked one counts: what it would have taken waits for it.
        """
        return self._index.is_followed(algorithm_id)

    def dead_letter_task(self, dead_letter_task_id: str) -> DeadLetterTask | None:
        """By id; None also for one that ended before the newest ENDED_TASKS_KEPT_MAX."""
        return self._tasks.get(dead_letter_task_id)

    def dead_letter_tasks(self) -> tuple[DeadLetterTask, ...]:
        """The open ones and those that ended last, in the order in which they were asked for."""
        return self._tasks.all()

    def dead_letter_tasks_of(self, flow_id: str) -> tuple[DeadLetterTask, ...]:
        """Those of one flow, also of a deleted one, in the order in which they were asked for."""
        return self._tasks.of_flow(flow_id)

    def open_dead_letter_tasks(self) -> tuple[DeadLetterTask, ...]:
        """Those that go on, in the order in which they were asked for."""
        return self._tasks.open()

    def dead_letter_task_forgotten_next(self) -> DeadLetterTask | None:
        """The task that goes when another one ends; None while there is room."""
        return self._tasks.forgotten_next()

    # ---- change --------------------------------------------------------------------------------

    def apply(self, recorded: RecordedEvent) -> None:
        """Take in the next event of the log.

        Raises PositionGap when it is not the one after `position`; then nothing has changed.
        """
        if recorded.position != self.position + 1:
            raise PositionGap(
                f"event {recorded.position} cannot follow event {self.position}: "
                f"read the log again after position {self.position}"
            )
        self._evolve(recorded)
        self.position = recorded.position

    def _evolve(self, recorded: RecordedEvent) -> None:
        match recorded.event:
            case events.AccountCreated() as event:
                self._accounts.created(recorded, event)
            case events.ApiKeyCreated() as event:
                self._accounts.key_created(recorded, event)
            case events.ApiKeyRevoked() as event:
                self._accounts.key_revoked(recorded, event)
            case events.AlgorithmCreated() as event:
                self._algorithms.created(recorded, event)
            case events.BuildFinished() as event:
                self._algorithms.build_finished(recorded, event)
            case events.VersionPublished() as event:
                self._algorithms.version_published(recorded, event)
            case events.ConnectionCreated() as event:
                self._connections.created(recorded, event)
            case events.ConnectionDeleted() as event:
                self._connection_deleted(event)
            case events.ConnectionUpdated() as event:
                self._connections.updated(recorded, event)
            case events.ConnectionCredentialsShredded() as event:
                self._connections.credentials_shredded(recorded, event)
            case events.TopicAccessSet() as event:
                self._topic_access_set(recorded, event)
            case events.FlowCreated() as event:
                self._flows.created(recorded, event)
            case events.FlowEnabled() as event:
                self._flows.enabled(recorded, event)
            case events.FlowDisabled() as event:
                self._flows.disabled(recorded, event)
            case events.FlowDeleted() as event:
                self._flow_deleted(recorded, event)
            case events.FlowCredentialsShredded() as event:
                self._flows.credentials_shredded(recorded, event)
            case events.FlowPaused() as event:
                self._flows.paused(recorded, event)
            case events.FlowResumed() as event:
                self._flows.resumed(recorded, event)
            case events.RedriveRequested() as event:
                self._tasks.redrive_requested(recorded, event)
            case events.PurgeRequested() as event:
                self._tasks.purge_requested(recorded, event)
            case events.DeadLetterTaskCancelled() as event:
                self._tasks.cancelled(recorded, event)
            case events.DeadLetterTaskFinished() as event:
                self._tasks.finished(recorded, event)
            case _:
                assert_never(recorded.event)

    def _connection_deleted(self, event: events.ConnectionDeleted) -> None:
        """Flows of the connection that nobody created go; the others stay, blocked."""
        self._connections.deleted(event)
        for access in self._access.of_connection(event.connection_id):
            for grant in access.grants:
                self._flows.grant_taken(access, grant)

    def _topic_access_set(self, recorded: RecordedEvent, event: events.TopicAccessSet) -> None:
        access, taken = self._access.set(recorded, event)
        for grant in taken:
            self._flows.grant_taken(access, grant)
        if self._connections.get(access.connection_id) is None:
            return
        channel = topic_channel(access)
        for grant in access.grants:
            algorithm = self._algorithms.get(grant.algorithm_id)
            if algorithm is not None:
                self._flows.granted(access, grant, owner_id=algorithm.owner_id, channel=channel)

    def _flow_deleted(self, recorded: RecordedEvent, event: events.FlowDeleted) -> None:
        flow = self._index.get(event.flow_id)
        self._flows.deleted(recorded, event, granted=flow is not None and self._is_granted(flow))

    def _is_granted(self, flow: Flow) -> bool:
        channel = flow.channel
        if channel is None or channel.broker is not BrokerKind.KAFKA:
            return False
        return self._connections.get(channel.connection_id) is not None and self.is_granted(
            connection_id=channel.connection_id,
            topic=channel.name,
            algorithm_id=flow.algorithm_id,
            api_type=flow.api_type,
        )
