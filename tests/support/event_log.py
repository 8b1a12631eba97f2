"""A log of events in memory, told in short sentences: what tests of the read model start from."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from catalog import events
from catalog.catalog import Catalog
from catalog.events import (
    AccountKind,
    ApiType,
    BrokerKind,
    Callability,
    Channel,
    Event,
    FlowKind,
    Grant,
    KeyType,
    Metadata,
    RecordedEvent,
    SecretRef,
    SecurityProtocol,
    SourceKind,
)
from catalog.identifiers import granted_flow_id, topic_access_id

START = datetime(2026, 1, 1, tzinfo=UTC)
_NAMESPACE = UUID("00000000-0000-5000-8000-000000000001")


def id_of(name: str) -> str:
    """The same uuid for the same name, in every test."""
    return str(uuid5(_NAMESPACE, name))


def commit_of(name: str) -> str:
    """40 hex digits, the same for the same name."""
    return (id_of(name) + id_of(name + "'")).replace("-", "")[:40]


class EventLog:
    """Events with dense positions and stream versions, one second apart."""

    def __init__(self) -> None:
        self.recorded: list[RecordedEvent] = []
        self._versions: Counter[str] = Counter()
        self._grants: dict[tuple[str, str], tuple[tuple[str, ApiType], ...]] = {}
        self._so_far = Catalog()

    def catalog(self) -> Catalog:
        """A catalog that has read everything so far."""
        catalog = Catalog()
        for recorded in self.recorded:
            catalog.apply(recorded)
        return catalog

    def version(self, stream_id: str) -> int:
        """Of the stream, as an `expected_version` has to name it."""
        return self._versions[stream_id]

    def add(self, stream_id: str, event: Event) -> RecordedEvent:
        """Append any event."""
        self._versions[stream_id] += 1
        position = len(self.recorded) + 1
        recorded = RecordedEvent(
            position=position,
            stream_id=stream_id,
            version=self._versions[stream_id],
            time=START + timedelta(seconds=position),
            metadata=Metadata(actor="service:operator", command_id=id_of(f"command {position}")),
            event=event,
        )
        self.recorded.append(recorded)
        self._so_far.apply(recorded)
        return recorded

    def account(self, name: str) -> str:
        """An organization exists; its id."""
        account_id = id_of(name)
        self.add(
            account_id,
            events.AccountCreated(
                account_id=account_id,
                kind=AccountKind.ORGANIZATION,
                username=name,
                email=f"{name}@example.test",
            ),
        )
        return account_id

    def key(self, account: str, label: str, *, sha256: bytes) -> str:
        """The account gets a key; the key's id."""
        key_id = id_of(label)
        self.add(
            id_of(account),
            events.ApiKeyCreated(
                account_id=id_of(account),
                key_id=key_id,
                label=label,
                key_type=KeyType.STANDARD,
                key_sha256=sha256,
                mask="sim1…xyz",
            ),
        )
        return key_id

    def algorithm(self, full_name: str, *versions: str, public: bool = True) -> str:
        """An algorithm exists with these published versions; its id."""
        owner, name = full_name.split("/")
        algorithm_id = id_of(full_name)
        self.add(
            algorithm_id,
            events.AlgorithmCreated(
                algorithm_id=algorithm_id,
                owner_id=id_of(owner),
                owner_name=owner,
                name=name,
                source_kind=SourceKind.GIT,
                source_url=f"https://git.example.test/{full_name}.git",
            ),
        )
        for version in versions:
            self.publish(full_name, version, public=public)
        return algorithm_id

    def build(self, full_name: str, build: str, *, succeeded: bool = True, log: str = "") -> None:
        """A commit was built."""
        self.add(
            id_of(full_name),
            events.BuildFinished(
                algorithm_id=id_of(full_name),
                build_id=id_of(build),
                commit_sha=commit_of(build),
                succeeded=succeeded,
                log_tail=log,
                started_at=START,
                finished_at=START + timedelta(seconds=9),
            ),
        )

    def publish(self, full_name: str, version: str, *, public: bool = True) -> None:
        """A commit was built and published."""
        build = f"{full_name} {version}"
        self.build(full_name, build)
        self.add(
            id_of(full_name),
            events.VersionPublished(
                algorithm_id=id_of(full_name),
                version=version,
                build_id=id_of(build),
                commit_sha=commit_of(build),
                callability=Callability.PUBLIC if public else Callability.PRIVATE,
            ),
        )

    def connection(self, name: str, *, secured: bool = False, credentials: bool = True) -> str:
        """A Kafka cluster is linked; the connection's id."""
        connection_id = id_of(name)
        secret = SecretRef(secret_id=id_of(f"{name} secret"), fingerprint=b"12345678")
        self.add(
            connection_id,
            events.ConnectionCreated(
                connection_id=connection_id,
                name=name,
                bootstrap_servers=("kafka.example.test:9092",),
                security_protocol=(
                    SecurityProtocol.SASL_SSL if secured else SecurityProtocol.PLAINTEXT
                ),
                sasl_mechanism="SCRAM-SHA-512" if secured else "",
                credentials=secret if secured and credentials else None,
            ),
        )
        return connection_id

    def delete_connection(self, name: str) -> None:
        """The link is gone."""
        self.add(id_of(name), events.ConnectionDeleted(connection_id=id_of(name)))

    def set_access(self, connection: str, topic: str, *grants: tuple[str, ApiType]) -> None:
        """All grants of the topic: (algorithm's full name, what it may do)."""
        connection_id = id_of(connection)
        access_id = topic_access_id(connection_id=connection_id, topic=topic)
        self._grants[connection, topic] = grants
        self.add(
            access_id,
            events.TopicAccessSet(
                topic_access_id=access_id,
                connection_id=connection_id,
                topic=topic,
                grants=tuple(
                    Grant(algorithm_id=id_of(name), api_type=api_type) for name, api_type in grants
                ),
            ),
        )

    def grant(self, connection: str, topic: str, full_name: str, api_type: ApiType) -> str:
        """One more grant on the topic; the id of its flow."""
        before = self._grants.get((connection, topic), ())
        self.set_access(connection, topic, *before, (full_name, api_type))
        return flow_id_of(connection, topic, full_name, api_type)

    def create_flow(self, flow_id: str, **fields: object) -> str:
        """A flow's stream begins; what its grant says unless `fields` say otherwise."""
        known = self._so_far.flow(flow_id)
        if known is not None:
            fields = {
                "kind": known.kind,
                "owner_id": known.owner_id,
                "algorithm_id": known.algorithm_id,
                "channel": known.channel,
                **fields,
            }
        self.add(flow_id, events.FlowCreated(flow_id=flow_id, **fields))  # type: ignore[arg-type]
        return flow_id

    def enable(
        self,
        flow_id: str,
        version: str = "",
        *,
        dead_letters: str = "",
        allow_cycle: bool = False,
        delivery: events.DeliverySettings | None = None,
    ) -> None:
        """The flow runs; it is created first where it was not."""
        known = self._so_far.flow(flow_id)
        if known is not None and not known.created_position:
            self.create_flow(flow_id)
        self.add(
            flow_id,
            events.FlowEnabled(
                flow_id=flow_id,
                algorithm_version=version,
                dead_letter_topic=dead_letters,
                allow_cycle=allow_cycle,
                delivery=delivery,
            ),
        )

    def disable(self, flow_id: str) -> None:
        """The flow stands still."""
        self.add(flow_id, events.FlowDisabled(flow_id=flow_id))

    def delete(self, flow_id: str) -> None:
        """The flow is gone."""
        self.add(flow_id, events.FlowDeleted(flow_id=flow_id))

    def pause(self, flow_id: str, *, drain: bool = False, reason: str = "") -> None:
        """The flow starts nothing."""
        self.add(flow_id, events.FlowPaused(flow_id=flow_id, drain=drain, reason=reason))

    def resume(self, flow_id: str) -> None:
        """The flow goes on."""
        self.add(flow_id, events.FlowResumed(flow_id=flow_id))

    def redrive(
        self,
        flow_id: str,
        name: str = "redrive",
        *,
        version: str = "",
        rate_per_s: float = 10.0,
        own_topic: bool = False,
    ) -> str:
        """Dead letters of the flow shall be sent again; the task's id."""
        task_id = id_of(name)
        self.add(
            task_id,
            events.RedriveRequested(
                dead_letter_task_id=task_id,
                flow_id=flow_id,
                selection=events.DeadLetterSelection(),
                algorithm_version=version,
                rate_per_s=rate_per_s,
                own_topic=own_topic,
            ),
        )
        return task_id

    def purge(self, flow_id: str, name: str = "purge") -> str:
        """Dead letters of the flow shall be forgotten; the task's id."""
        task_id = id_of(name)
        self.add(
            task_id,
            events.PurgeRequested(
                dead_letter_task_id=task_id,
                flow_id=flow_id,
                selection=events.DeadLetterSelection(),
            ),
        )
        return task_id

    def cancel(self, task_id: str) -> None:
        """Nothing more shall be done for the task."""
        self.add(task_id, events.DeadLetterTaskCancelled(dead_letter_task_id=task_id))

    def finish(self, task_id: str, *, succeeded: int = 0, failed: int = 0) -> None:
        """Nothing more is done for the task."""
        self.add(
            task_id,
            events.DeadLetterTaskFinished(
                dead_letter_task_id=task_id, succeeded=succeeded, failed=failed
            ),
        )

    def subscribe(
        self, connection: str, topic: str, full_name: str, *, allow_cycle: bool = False
    ) -> str:
        """Granted and enabled: topic → algorithm; the flow's id."""
        flow_id = self.grant(connection, topic, full_name, ApiType.SUBSCRIBER)
        self.enable(flow_id, allow_cycle=allow_cycle)
        return flow_id

    def publish_to(
        self, connection: str, topic: str, full_name: str, *, allow_cycle: bool = False
    ) -> str:
        """Granted and enabled: algorithm → topic; the flow's id."""
        flow_id = self.grant(connection, topic, full_name, ApiType.PUBLISHER)
        self.enable(flow_id, allow_cycle=allow_cycle)
        return flow_id

    def chain(self, full_name: str, target: str, *, allow_cycle: bool = False) -> str:
        """Created and enabled: algorithm → algorithm; the flow's id."""
        flow_id = id_of(f"{full_name} → {target}")
        self.create_flow(
            flow_id,
            kind=FlowKind.CHAIN,
            owner_id=id_of(full_name.split("/")[0]),
            algorithm_id=id_of(full_name),
            target_algorithm_id=id_of(target),
        )
        self.enable(flow_id, allow_cycle=allow_cycle)
        return flow_id

    def listener(
        self, full_name: str, queue: str, broker: BrokerKind, *, credentials: bool = True
    ) -> str:
        """An event listener on a queue, enabled; the flow's id."""
        flow_id = id_of(f"{queue} → {full_name}")
        secret = SecretRef(secret_id=id_of(queue), fingerprint=b"12345678")
        self.create_flow(
            flow_id,
            kind=FlowKind.SUBSCRIBER,
            owner_id=id_of(full_name.split("/")[0]),
            algorithm_id=id_of(full_name),
            channel=Channel(broker=broker, name=queue, credentials=secret if credentials else None),
        )
        self.enable(flow_id)
        return flow_id


def flow_id_of(connection: str, topic: str, full_name: str, api_type: ApiType) -> str:
    """Id of the flow that this grant makes."""
    return granted_flow_id(
        connection_id=id_of(connection),
        topic=topic,
        algorithm_id=id_of(full_name),
        api_type=api_type,
    )
