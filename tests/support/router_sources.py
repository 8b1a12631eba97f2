"""The same questions to a source of any broker: a topic to fill, and a reader that notes all."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewPartitions, RecordsToDelete
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.structs import OffsetAndMetadata
from catalog.events import SecurityProtocol, StartAt
from devstack import Kafka
from devstack.kafka_settings import Door
from router.adapters.kafka_consumer import GroupTimes
from router.adapters.kafka_source import KafkaSource
from router.adapters.memory_broker import MemoryBroker
from router.adapters.memory_positions import MemoryPositions
from router.adapters.memory_source import MemorySource
from router.adapters.system_clock import SystemClock
from router.domain.delivery import Delivery, Headers
from router.domain.flow_spec import INTERNAL_CONNECTION, FlowSpec, KafkaSourceSpec
from router.domain.kafka_connection import KafkaConnection
from router.domain.low_water import Mark, Ranges
from router.ports import Positions, Source

from tests.support.kafka_clients import admin, consuming, producing
from tests.support.router_flows import SUBSCRIBER

WAIT_S = 20.0
QUICK_TIMES = GroupTimes(session_timeout_s=3.0, heartbeat_s=0.3, drain_s=2.0)


class Topic(Protocol):
    """A topic with one consumer group, on some broker."""

    async def append(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int = 0,
        headers: Headers = (),
        timestamp_ms: int | None = None,
    ) -> int:
        """Add a record; its offset."""
        ...

    async def append_in_transaction(self, value: bytes) -> int:
        """Add a record to partition 0, and behind it an offset that holds none; its offset."""
        ...

    def source(self, *, start: StartAt = StartAt.EARLIEST) -> Source:
        """One more member of the group, not open yet; `start` is the same for all of them."""
        ...

    def be_ours(self) -> None:
        """Be a topic of completions, for all sources from now on."""
        ...

    async def expire(self, end: int) -> None:
        """Forget the records of partition 0 below `end`, as a retention does."""
        ...

    async def grow(self, partitions: int) -> None:
        """Add partitions up to so many; they can be written to on return."""
        ...

    async def notice(self, source: Source) -> None:
        """Have an open source learn of added partitions, as it does by itself after a while."""
        ...

    async def committed(self, partition: int = 0) -> int | None:
        """Where the group stands."""
        ...

    async def commit(self, position: int) -> None:
        """Set partition 0 of the group, while it has no members."""
        ...


class Reader:
    """A listener that notes what it is told and may act while partitions are revoked."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.epoch = 0
        self.positions: dict[int, int] = {}
        self.finished: dict[int, Ranges] = {}
        self.assignments = 0
        self.expired = 0
        self.revocations = 0
        self.deliveries: list[Delivery] = []
        self.when_revoked: Callable[[], Any] | None = None

    def on_assigned(
        self, marks: Mapping[int, Mark], *, epoch: int, unreadable: int = 0, expired: int = 0
    ) -> None:
        self.positions = {partition: mark.position for partition, mark in marks.items()}
        self.finished = {partition: mark.finished for partition, mark in marks.items()}
        self.epoch = epoch
        self.expired += expired
        self.assignments += 1

    async def on_revoked(self) -> None:
        self.revocations += 1
        if self.when_revoked is not None:
            await self.when_revoked()

    async def until(self, condition: Callable[[], object]) -> None:
        """Receive until the condition holds."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self.deliveries += await self.source.receive(wait_s=0.05, records_max=100)

    async def settle(self, position: int, *finished: tuple[int, int]) -> None:
        """Settle partition 0 under the current epoch."""
        mark = Mark(position=position, finished=finished)
        await self.source.settle({0: mark}, epoch=self.epoch)

    async def read(self, count: int) -> list[Delivery]:
        """The next `count` records at least."""
        begin = len(self.deliveries)
        await self.until(lambda: len(self.deliveries) >= begin + count)
        return self.deliveries[begin:]

    @property
    def values(self) -> list[bytes | None]:
        return [delivery.value for delivery in self.deliveries]


@asynccontextmanager
async def reading(topic: Topic) -> AsyncIterator[Reader]:
    """A member that has its first assignment."""
    source = topic.source()
    reader = Reader(source)
    try:
        await source.open(reader)
        await reader.until(lambda: reader.assignments)
        yield reader
    finally:
        await source.close()


class MemoryTopic:
    """A topic in memory."""

    def __init__(self, partitions: int) -> None:
        self.broker = MemoryBroker(partitions=partitions)

    async def append(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int = 0,
        headers: Headers = (),
        timestamp_ms: int | None = None,
    ) -> int:
        return self.broker.append(
            value, key=key, partition=partition, headers=headers, timestamp_ms=timestamp_ms
        )

    async def append_in_transaction(self, value: bytes) -> int:
        offset = self.broker.append(value)
        self.broker.skip()
        return offset

    def source(self, *, start: StartAt = StartAt.EARLIEST) -> MemorySource:
        self.broker.start = start
        return MemorySource(self.broker)

    def be_ours(self) -> None:
        self.broker.is_ours = True

    async def expire(self, end: int) -> None:
        self.broker.forget_below(end)

    async def grow(self, partitions: int) -> None:
        self.broker.grow(partitions)

    async def notice(self, source: Source) -> None:
        await self.broker.notice()

    async def committed(self, partition: int = 0) -> int | None:
        return self.broker.committed.get(partition)

    async def commit(self, position: int) -> None:
        self.broker.commit({0: Mark(position=position)})


class KafkaTopic:
    """A new topic on a real broker, with a group of its own."""

    def __init__(self, kafka: Kafka, producer: AIOKafkaProducer, name: str) -> None:
        self.name = name
        self.group_id = f"eventflows-{name}"
        self.positions = MemoryPositions()
        self.wanted_since: datetime | None = None
        self._connection_id = "c-1"
        self._kafka = kafka
        self._producer = producer

    @property
    def connection(self) -> KafkaConnection:
        return connection_of(self._kafka)

    def spec(self, base: FlowSpec = SUBSCRIBER, start: StartAt = StartAt.EARLIEST) -> FlowSpec:
        """A flow from this topic."""
        spec = spec_of(base, topic=self.name, group_id=self.group_id, start=start)
        source = replace(
            spec.source, connection_id=self._connection_id, wanted_since=self.wanted_since
        )
        return replace(spec, source=source)

    def be_ours(self) -> None:
        self._connection_id = INTERNAL_CONNECTION

    async def expire(self, end: int) -> None:
        async with admin(self._kafka) as client:
            await client.delete_records({TopicPartition(self.name, 0): RecordsToDelete(end)})

    async def append(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int = 0,
        headers: Headers = (),
        timestamp_ms: int | None = None,
    ) -> int:
        metadata = await self._producer.send_and_wait(
            self.name,
            value,
            key=key,
            partition=partition,
            headers=list(headers),
            timestamp_ms=timestamp_ms,
        )
        return int(metadata.offset)

    async def append_in_transaction(self, value: bytes) -> int:
        async with (
            producing(self._kafka, transactional_id=self.name) as producer,
            producer.transaction(),
        ):
            return int((await producer.send_and_wait(self.name, value, partition=0)).offset)

    def source(
        self, *, times: GroupTimes = QUICK_TIMES, start: StartAt = StartAt.EARLIEST
    ) -> KafkaSource:
        return kafka_source(
            self.spec(start=start), self.connection, positions=self.positions, times=times
        )

    async def committed(self, partition: int = 0) -> int | None:
        found = await self._committed(partition)
        return None if found is None or found.offset < 0 else int(found.offset)

    async def committed_metadata(self) -> str:
        """What stands with the commit of partition 0."""
        found = await self._committed(0)
        return "" if found is None else str(found.metadata)

    async def _committed(self, partition: int) -> OffsetAndMetadata | None:
        async with admin(self._kafka) as client:
            offsets = await client.list_consumer_group_offsets(self.group_id)
        return offsets.get(TopicPartition(self.name, partition))

    async def commit(self, position: int, *, partition: int = 0, metadata: str = "") -> None:
        await self._commit(TopicPartition(self.name, partition), position, metadata)

    async def grow(self, partitions: int) -> None:
        """Add partitions up to so many; they can be written to on return."""
        async with admin(self._kafka) as client:
            await client.create_partitions({self.name: NewPartitions(partitions)})
        async with asyncio.timeout(WAIT_S):
            while len(await self._producer.partitions_for(self.name)) < partitions:
                await self._producer.client.force_metadata_update()

    async def notice(self, source: Source) -> None:
        assert isinstance(source, KafkaSource)
        assert source._consumer is not None
        known = len(await self._producer.partitions_for(self.name))
        async with asyncio.timeout(WAIT_S):
            while len(source._consumer.partitions_for_topic(self.name) or ()) < known:
                await source._consumer._client.force_metadata_update()

    async def forget_group(self) -> None:
        """What a cluster does a week after the last member has left."""
        async with admin(self._kafka) as client:
            node_id = await client.find_coordinator(self.group_id)
            answer = await client._client.send(node_id, DeleteGroupsRequest([self.group_id]))
        assert [code for _, code in answer.results] == [0], answer

    async def _commit(self, partition: TopicPartition, position: int, metadata: str) -> None:
        async with consuming(
            self._kafka, group_id=self.group_id, enable_auto_commit=False
        ) as consumer:
            consumer.assign([partition])
            await consumer.commit({partition: (position, metadata)})


@asynccontextmanager
async def kafka_topic(
    kafka: Kafka, partitions: int = 1, **config: str
) -> AsyncIterator[KafkaTopic]:
    """A topic that nobody else uses."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    await kafka.create_topic(name, partitions, config)
    async with producing(kafka, max_request_size=25 * 1024 * 1024) as producer:
        yield KafkaTopic(kafka, producer, name)


def spec_of(
    base: FlowSpec, *, topic: str, group_id: str, start: StartAt = StartAt.EARLIEST
) -> FlowSpec:
    """The same flow, from another topic."""
    source = KafkaSourceSpec(connection_id="c-1", topic=topic, group_id=group_id, start=start)
    return replace(base, source=source)


def kafka_source(
    spec: FlowSpec,
    connection: KafkaConnection,
    *,
    positions: Positions | None = None,
    times: GroupTimes = QUICK_TIMES,
) -> KafkaSource:
    """A source on a real broker, with a memory of its own unless another is given."""
    return KafkaSource(
        spec,
        connection=connection,
        clock=SystemClock(),
        positions=positions or MemoryPositions(),
        times=times,
    )


def connecting(connection: KafkaConnection) -> Callable[[], Awaitable[KafkaConnection]]:
    """What resolves to this connection."""

    async def connect() -> KafkaConnection:
        return connection

    return connect


def connection_of(kafka: Kafka, **changes: Any) -> KafkaConnection:
    """How the router reaches a broker of the devstack."""
    fields: dict[str, Any] = {
        "connection_id": kafka.name,
        "bootstrap_servers": (kafka.bootstrap_servers,),
    }
    if kafka.security == "SASL_SSL":
        fields |= {
            "security_protocol": SecurityProtocol.SASL_SSL,
            "sasl_mechanism": "SCRAM-SHA-512",
            "username": kafka.username,
            "password": kafka.password,
            "ca_certificate": kafka.ca_pem,
        }
    return KafkaConnection(**(fields | changes))


def connection_through(kafka: Kafka, door: Door) -> KafkaConnection:
    """How the router reaches it through a further listener."""
    if door == "MTLS":
        certificate, key = kafka.client_pem
        fields: dict[str, Any] = {
            "security_protocol": SecurityProtocol.SSL,
            "client_certificate": certificate,
            "client_key": key,
        }
    else:
        protocol = "SASL_SSL" if door.startswith("SASL_SSL") else "SASL_PLAINTEXT"
        fields = {
            "security_protocol": SecurityProtocol[protocol],
            "sasl_mechanism": "PLAIN" if door.endswith("PLAIN") else "SCRAM-SHA-256",
        }
    return connection_of(kafka, bootstrap_servers=(kafka.door(door),), **fields)
