"""A long log of a believable cluster, appended the way every event is: for benchmarks, big tests.

Most of it is flows that are enabled, changed and disabled again, a twentieth is grants saved again.
Everything is derived from counters, so two logs of one length hold the same events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from uuid import UUID, uuid5

from catalog import events
from catalog.codec import encode, stored_name
from catalog.events import (
    AccountKind,
    ApiType,
    BrokerKind,
    Channel,
    Event,
    FlowKind,
    Grant,
    Metadata,
    SecretRef,
    SecurityProtocol,
    SourceKind,
)
from catalog.identifiers import granted_flow_id, topic_access_id
from catalog.kinds import KIND_OF_EVENT
from catalog.metadata import metadata_message
from registry.ports.event_store import COMMANDS_PER_BATCH_MAX, Append, EventStore, NewEvent, Status

ACCOUNTS = 20
ALGORITHMS = 200
CONNECTIONS = 10
TOPICS_DEFAULT = 20_000
GRANTS_EVERY = 20
"""Every so many-th change of a flow its topic's grants are saved again instead."""

_NAMESPACE = UUID("00000000-0000-5000-8000-000000000002")


async def fill(store: EventStore, events_total: int, *, topics: int = TOPICS_DEFAULT) -> int:
    """Append a log of `events_total` events to an empty store; its last position."""
    batch: dict[str, Append] = {}
    for command in cluster(events_total, topics=topics):
        if command.stream_id in batch or len(batch) == COMMANDS_PER_BATCH_MAX:
            await _append(store, batch)
            batch = {}
        batch[command.stream_id] = command
    await _append(store, batch)
    return (await store.head()).position


def cluster(events_total: int, *, topics: int = TOPICS_DEFAULT) -> Iterator[Append]:
    """The commands, in order."""
    versions: Counter[str] = Counter()
    made = 0
    for stream_id, new in _changes(topics):
        taken = new[: events_total - made]
        if not taken:
            return
        made += len(taken)
        yield _command(stream_id, versions[stream_id], taken, number=made)
        versions[stream_id] += len(taken)


async def _append(store: EventStore, batch: dict[str, Append]) -> None:
    outcomes = await store.append(list(batch.values()))
    assert all(one.status is Status.STORED for one in outcomes), outcomes


def _command(stream_id: str, version: int, new: tuple[Event, ...], *, number: int) -> Append:
    command_id = _id(f"command {number}")
    metadata = metadata_message(
        Metadata(
            actor=_id(f"account {number % ACCOUNTS}"),
            command_id=command_id,
            correlation_id=_id(f"request {number}"),
            traceparent=f"00-{number:032x}-{number:016x}-01",
            key_id=_id(f"key {number % ACCOUNTS}"),
        )
    )
    return Append(
        command_id=command_id,
        request_hash=sha256(command_id.encode()).digest(),
        stream_id=stream_id,
        category=KIND_OF_EVENT[type(new[0])].name.lower(),
        expected_version=version,
        events=tuple(NewEvent(name=stored_name(event), data=encode(event)) for event in new),
        metadata=metadata.SerializeToString(deterministic=True),
    )


def _changes(topics: int) -> Iterator[tuple[str, tuple[Event, ...]]]:
    """What happens, for ever: the cluster is set up, then its flows change in turn."""
    yield from (_account(number) for number in range(ACCOUNTS))
    yield from (_algorithm(number) for number in range(ALGORITHMS))
    yield from (_connection(number) for number in range(CONNECTIONS))
    yield from (_access(number) for number in range(topics))
    yield from (_flow(number) for number in range(topics))
    turn = 0
    while True:
        turn += 1
        for number in range(topics):
            if (turn + number) % GRANTS_EVERY == 0:
                yield _access(number)
            else:
                yield _flow_changed(number, turn)


def _account(number: int) -> tuple[str, tuple[Event, ...]]:
    account_id = _id(f"account {number}")
    created = events.AccountCreated(
        account_id=account_id,
        kind=AccountKind.ORGANIZATION,
        username=f"organization{number}",
        email=f"organization{number}@example.test",
        fullname=f"Organization number {number}",
    )
    return account_id, (created,)


def _algorithm(number: int) -> tuple[str, tuple[Event, ...]]:
    algorithm_id = _id(f"algorithm {number}")
    created = events.AlgorithmCreated(
        algorithm_id=algorithm_id,
        owner_id=_id(f"account {number % ACCOUNTS}"),
        owner_name=f"organization{number % ACCOUNTS}",
        name=f"algorithm{number}",
        source_kind=SourceKind.GIT,
        source_url=f"https://git.example.test/algorithm{number}.git",
    )
    return algorithm_id, (created,)


def _connection(number: int) -> tuple[str, tuple[Event, ...]]:
    connection_id = _id(f"connection {number}")
    created = events.ConnectionCreated(
        connection_id=connection_id,
        name=f"cluster {number}",
        bootstrap_servers=(f"kafka{number}.example.test:9093",),
        security_protocol=SecurityProtocol.SASL_SSL,
        sasl_mechanism="SCRAM-SHA-512",
        credentials=SecretRef(secret_id=_id(f"secret {number}"), fingerprint=b"12345678"),
    )
    return connection_id, (created,)


def _access(number: int) -> tuple[str, tuple[Event, ...]]:
    connection_id, topic, algorithm_id, _ = _granted(number)
    access_id = topic_access_id(connection_id=connection_id, topic=topic)
    saved = events.TopicAccessSet(
        topic_access_id=access_id,
        connection_id=connection_id,
        topic=topic,
        grants=(Grant(algorithm_id=algorithm_id, api_type=ApiType.SUBSCRIBER),),
    )
    return access_id, (saved,)


def _flow(number: int) -> tuple[str, tuple[Event, ...]]:
    connection_id, topic, algorithm_id, flow_id = _granted(number)
    created = events.FlowCreated(
        flow_id=flow_id,
        kind=FlowKind.SUBSCRIBER,
        owner_id=_id(f"account {number % ALGORITHMS % ACCOUNTS}"),
        algorithm_id=algorithm_id,
        channel=Channel(broker=BrokerKind.KAFKA, connection_id=connection_id, name=topic),
    )
    return flow_id, (created, events.FlowEnabled(flow_id=flow_id, algorithm_version="1.0.0"))


def _flow_changed(number: int, turn: int) -> tuple[str, tuple[Event, ...]]:
    flow_id = _granted(number)[-1]
    if turn % 3 == 0:
        return flow_id, (events.FlowDisabled(flow_id=flow_id),)
    enabled = events.FlowEnabled(
        flow_id=flow_id,
        algorithm_version=f"1.0.{turn}",
        dead_letter_topic=f"dead-letters-of-team-{number % ACCOUNTS}",
        concurrency_max=1 + turn % 32,
        timeout_s=300,
    )
    return flow_id, (enabled,)


def _granted(number: int) -> tuple[str, str, str, str]:
    """(connection, topic, algorithm, flow) of a topic by its number."""
    connection_id = _id(f"connection {number % CONNECTIONS}")
    algorithm_id = _id(f"algorithm {number % ALGORITHMS}")
    topic = f"orders-of-region-{number}"
    flow_id = granted_flow_id(
        connection_id=connection_id,
        topic=topic,
        algorithm_id=algorithm_id,
        api_type=ApiType.SUBSCRIBER,
    )
    return connection_id, topic, algorithm_id, flow_id


def _id(name: str) -> str:
    return str(uuid5(_NAMESPACE, name))
