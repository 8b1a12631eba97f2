"""What a cluster says about one topic: how many partitions, and the id that tells it from an older
topic of the same name.

Kafka has given ids since 2.8. aiokafka 0.14 asks for metadata in a version without them,
so the newer request stands here, built from aiokafka's own types.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, ClassVar
from uuid import UUID

from aiokafka import AIOKafkaConsumer
from aiokafka.client import ConnectionGroup
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    NoError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from router.domain.topic_identity import TopicIdentity

UUID_BYTES = 16
NO_ID = UUID(int=0)


class _Uuid(AbstractType[UUID]):  # type: ignore[misc]  # aiokafka has no types
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(UUID_BYTES))


_TEXT = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)


class _Answer(Response):  # type: ignore[misc]
    API_KEY: ClassVar[int] = 3
    API_VERSION: ClassVar[int] = 10
    SCHEMA: ClassVar[Schema] = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _TAGS),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("in_sync", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("operations", Int32),
                _TAGS,
            ),
        ),
        ("operations", Int32),
        _TAGS,
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY: ClassVar[int] = 3
    API_VERSION: ClassVar[int] = 10
    FLEXIBLE_VERSION: ClassVar[bool] = True
    RESPONSE_TYPE: ClassVar[type[Response]] = _Answer
    SCHEMA: ClassVar[Schema] = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _TEXT), _TAGS)),
        ("make_topics", Boolean),
        ("with_cluster_operations", Boolean),
        ("with_topic_operations", Boolean),
        _TAGS,
    )


class _Metadata(Request[_Question]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class([(NO_ID, self._topic, {})], False, False, False, {})


async def identify(consumer: AIOKafkaConsumer, topic: str) -> TopicIdentity | None:
    """The topic as it is now; None: there is none, or the user may not describe it.

    Asks where the group is coordinated, if that is known: on the other connection a fetch may be
    waiting. Raises aiokafka's errors.
    """
    client, node_id, group = consumer._client, consumer._coordinator.coordinator_id, None
    if node_id is None:
        node_id, group = client.get_random_node(), ConnectionGroup.DEFAULT
    if node_id is None:
        raise KafkaConnectionError("no broker is known")
    where = {"group": ConnectionGroup.COORDINATION if group is None else group}
    try:
        answer = await client.send(node_id, _Metadata(topic), **where)
        (code, _, found_id, _, partitions, *_) = answer.topics[0]
    except (NotImplementedError, IncompatibleBrokerVersion):
        answer = await client.send(node_id, MetadataRequest([topic]), **where)
        (code, _, _, partitions) = answer.topics[0]
        found_id = NO_ID
    return _identity(code, found_id, partitions)


def _identity(code: int, found_id: UUID, partitions: list[Any]) -> TopicIdentity | None:
    kind = for_code(code)
    if kind is UnknownTopicOrPartitionError:
        return None
    if kind is not NoError:
        raise kind
    return TopicIdentity(
        topic_id="" if found_id == NO_ID else found_id.hex, partitions=len(partitions)
    )
